/**
 * KVM or software emulation (TCG): decided by booting the template's own kernel under KVM with a deadline, not by looking
 * for /dev/kvm. A device can open, run firmware, and still never bring up a kernel. The kernel is started without a file
 * system: it says its version on the serial port, panics, and QEMU ends, which is all the proof that is needed.
 * Verdicts are kept in the user's cache directory, for this QEMU, this boot of the machine and this kernel file.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, readFile, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import { writeDurably } from '../ownership.ts'
import { bootId } from '../proc.ts'
import type { Accelerator } from './machine.ts'
import type { AcceleratorChoice } from './template.ts'

export interface Verdict {
  readonly accelerator: Accelerator
  /** Why, in people's words. */
  readonly reason: string
}

const run = promisify(execFile)
const versionTimeoutMs = 10_000
const trialTimeoutMs = 8_000
const outputBytesMax = 256 * 1024
const verdictsMax = 16

/** `$XDG_CACHE_HOME/tidegate/accelerator.json`, or under ~/.cache. */
const cacheFile = (): string =>
  join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'tidegate', 'accelerator.json')

type Verdicts = Record<string, Verdict>

/** QEMU's first line about itself. Throws `hypervisor_failed` when it cannot be run. */
export async function qemuVersion(binary: string): Promise<string> {
  try {
    const { stdout } = await run(binary, ['--version'], { timeout: versionTimeoutMs })
    return stdout.split('\n')[0] ?? ''
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new TidegateError(
      'hypervisor_failed',
      `cannot run ${binary}: ${reason}; install it with: npm run setup`,
    )
  }
}

/** What to run VMs of `kernel` with. `choice` other than `auto` is taken as it is. */
export async function chooseAccelerator(
  choice: AcceleratorChoice,
  request: { readonly binary: string; readonly kernel: string; readonly clock: Clock },
): Promise<Verdict> {
  if (choice !== 'auto') return { accelerator: choice, reason: 'as configured' }
  const key = await cacheKey(request.binary, request.kernel)
  const kept = (await readVerdicts())[key]
  if (kept !== undefined) return kept
  const verdict = await tryKvm(request.binary, request.kernel, request.clock)
  await keepVerdict(key, verdict)
  return verdict
}

async function tryKvm(binary: string, kernel: string, clock: Clock): Promise<Verdict> {
  const args = [
    ...['-machine', 'pc', '-accel', 'kvm', '-cpu', 'host', '-m', '256'],
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none', '-serial', 'stdio'],
    ...['-kernel', kernel, '-append', 'console=ttyS0 panic=-1'],
  ]
  const deadline = new AbortController()
  const cancel = clock.after(trialTimeoutMs, () => deadline.abort())
  let said: string
  try {
    const limits = { signal: deadline.signal, maxBuffer: outputBytesMax, killSignal: 'SIGKILL' } as const
    said = (await run(binary, args, limits)).stdout
  } catch (error) {
    const reason = deadline.signal.aborted
      ? `a kernel started under it did not come up within ${trialTimeoutMs / 1000} s`
      : trialFailure(error)
    return { accelerator: 'tcg', reason: `KVM does not work: ${reason}` }
  } finally {
    cancel()
  }
  return /Linux version/.test(said)
    ? { accelerator: 'kvm', reason: 'this kernel starts under KVM' }
    : { accelerator: 'tcg', reason: 'KVM does not work: QEMU ended and the kernel had said nothing' }
}

function trialFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { stderr = '' } = error as { stderr?: string }
  return stderr.trim().split('\n').at(-1) || error.message
}

async function cacheKey(binary: string, kernel: string): Promise<string> {
  const { mtimeMs, size } = await stat(kernel)
  const facts = [await qemuVersion(binary), await bootId(), kernel, mtimeMs, size]
  return createHash('sha256').update(JSON.stringify(facts)).digest('hex')
}

async function readVerdicts(): Promise<Verdicts> {
  try {
    const entries: [string, Verdict][] = Object.entries(JSON.parse(await readFile(cacheFile(), 'utf8')))
    const sound = ({ accelerator, reason }: Verdict) =>
      (accelerator === 'kvm' || accelerator === 'tcg') && typeof reason === 'string'
    return Object.fromEntries(entries.filter(([, verdict]) => sound(verdict)))
  } catch {
    return {}
  }
}

/** The newest ones are kept. Where nothing can be written the trial is made again next time. */
async function keepVerdict(key: string, verdict: Verdict): Promise<void> {
  const others = Object.entries(await readVerdicts()).filter(([other]) => other !== key)
  const all = Object.fromEntries([...others.slice(1 - verdictsMax), [key, verdict]])
  try {
    await mkdir(dirname(cacheFile()), { recursive: true, mode: 0o700 })
    await writeDurably(cacheFile(), `${JSON.stringify(all, null, 2)}\n`)
  } catch {
    // A cache that cannot be written costs eight seconds, not the VM.
  }
}
