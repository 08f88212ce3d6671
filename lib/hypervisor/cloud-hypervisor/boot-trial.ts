/**
 * Can Cloud Hypervisor bring a kernel up on this machine? Decided by trying: it has no software emulation to fall back
 * on, and a /dev/kvm that opens proves nothing. The template's kernel is started without a file system, with a deadline,
 * and must say its version on the serial port. Verdicts are kept in the user's cache directory, for this binary, this
 * boot of the machine and this kernel file.
 */
import { execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, readFile, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import { writeDurably } from '../ownership.ts'
import { bootId } from '../proc.ts'
import { requireSupported } from './version.ts'

const run = promisify(execFile)
const versionTimeoutMs = 10_000
const trialTimeoutMs = 8_000
const outputCharsMax = 64 * 1024
const wordsCharsMax = 300
const verdictsMax = 16

/** Null: it comes up. Else why not, in people's words. */
export type Trouble = string | null

export interface Trial {
  readonly binary: string
  /** `binaryVersion` of it. */
  readonly version: string
  readonly kernel: string
}

/** `$XDG_CACHE_HOME/tidegate/cloud-hypervisor.json`, or under ~/.cache. */
const cacheFile = (): string =>
  join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'tidegate', 'cloud-hypervisor.json')

/** What it says of itself. Throws `hypervisor_failed` when it cannot be run, `hypervisor_unsupported` when it is none for us. */
export async function binaryVersion(binary: string): Promise<string> {
  const said = await versionText(binary)
  requireSupported(said)
  return said
}

async function versionText(binary: string): Promise<string> {
  try {
    const { stdout } = await run(binary, ['--version'], { timeout: versionTimeoutMs })
    return stdout.split('\n')[0] ?? ''
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    const message = `cannot run ${binary}: ${reason}; install Cloud Hypervisor (docs/cloud-hypervisor.md)`
    throw new TidegateError('hypervisor_failed', message)
  }
}

/** The verdict of earlier, or of a trial now. */
export async function bootTrouble({ binary, version, kernel }: Trial, clock: Clock): Promise<Trouble> {
  const { mtimeMs, size } = await stat(kernel)
  const facts = [version, binary, await bootId(), kernel, mtimeMs, size]
  const key = createHash('sha256').update(JSON.stringify(facts)).digest('hex')
  const kept = await readVerdicts()
  if (kept[key] !== undefined) return kept[key] === '' ? null : kept[key]
  const trouble = await tryBoot(binary, kernel, clock)
  await keepVerdict(key, trouble ?? '')
  return trouble
}

async function tryBoot(binary: string, kernel: string, clock: Clock): Promise<Trouble> {
  const args = [
    ...['--kernel', kernel, '--cmdline', 'console=ttyS0 panic=-1'],
    ...['--cpus', 'boot=1', '--memory', 'size=256M', '--serial', 'tty', '--console', 'off'],
  ]
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const verdict = Promise.withResolvers<Trouble>()
  let said = ''
  const hear = (chunk: Buffer) => {
    said = (said + chunk).slice(-outputCharsMax)
    if (/Linux version/.test(said)) verdict.resolve(null)
  }
  child.stdout.on('data', hear)
  child.stderr.on('data', hear)
  child.once('error', error => verdict.resolve(error.message))
  child.once('close', () => verdict.resolve(said.trim().slice(-wordsCharsMax) || 'it ended and said nothing'))
  const late = `a kernel started by it did not come up within ${trialTimeoutMs / 1000} s`
  const cancel = clock.after(trialTimeoutMs, () => verdict.resolve(late))
  try {
    return await verdict.promise
  } finally {
    cancel()
    child.kill('SIGKILL')
  }
}

/** Empty text: it comes up. */
async function readVerdicts(): Promise<Record<string, string>> {
  try {
    const entries = Object.entries(JSON.parse(await readFile(cacheFile(), 'utf8')))
    return Object.fromEntries(entries.filter(([, text]) => typeof text === 'string')) as Record<
      string,
      string
    >
  } catch {
    return {}
  }
}

/** The newest ones are kept. Where nothing can be written the trial is made again next time. */
async function keepVerdict(key: string, text: string): Promise<void> {
  const others = Object.entries(await readVerdicts()).filter(([other]) => other !== key)
  const all = Object.fromEntries([...others.slice(1 - verdictsMax), [key, text]])
  try {
    await mkdir(dirname(cacheFile()), { recursive: true, mode: 0o700 })
    await writeDurably(cacheFile(), `${JSON.stringify(all, null, 2)}\n`)
  } catch {
    // A cache that cannot be written costs eight seconds, not the VM.
  }
}
