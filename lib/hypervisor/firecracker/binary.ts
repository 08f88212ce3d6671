/**
 * What a Firecracker binary says of itself, and whether a kernel comes up under it here. Asked once for each binary as it
 * lies on the disk: another file under the same path is another binary.
 */
import { execFile } from 'node:child_process'
import { access, constants, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { cpus, release, tmpdir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { TidegateError } from '../../errors.ts'
import { type BinaryFacts, type HostFacts, parseVersion, requireSupported, versionText } from './versions.ts'

const run = promisify(execFile)
const askTimeoutMs = 10_000
const trialTimeoutMs = 8_000
const outputBytesMax = 256 * 1024
const factsMax = 16

/** The answers, by the file that gave them. */
const known = new Map<string, Promise<BinaryFacts>>()

/** Throws `hypervisor_failed` when it is not there or cannot be run, `hypervisor_unsupported` when this driver does not work with its version. */
export async function binaryFacts(binary: string): Promise<BinaryFacts> {
  const path = await locate(binary)
  const { mtimeMs, size, ino } = await stat(path)
  const key = [path, mtimeMs, size, ino].join(' ')
  let facts = known.get(key)
  if (facts === undefined) {
    facts = ask(path)
    facts.catch(() => known.delete(key))
    known.set(key, facts)
    // Only the newest: a binary that was replaced is asked no more.
    for (const old of [...known.keys()].slice(0, -factsMax)) known.delete(old)
  }
  return facts
}

/** This machine as far as a snapshot depends on it. */
export function hostFacts(): HostFacts {
  return { cpu: cpus()[0]?.model ?? process.arch, kernel: release() }
}

/**
 * Starts `kernel` without a file system: it says its version on the console, panics, and Firecracker ends, which is all the
 * proof that is needed. Null when it works, else why not. `/dev/kvm` alone proves nothing: it can open and never run a kernel.
 */
export async function tryKernel(binary: string, kernel: string): Promise<string | null> {
  const directory = await mkdtemp(join(tmpdir(), 'tidegate-firecracker-'))
  const config = join(directory, 'trial.json')
  try {
    const machine = { vcpu_count: 1, mem_size_mib: 256 }
    const source = { kernel_image_path: kernel, boot_args: 'console=ttyS0 reboot=k panic=-1' }
    await writeFile(config, JSON.stringify({ 'boot-source': source, drives: [], 'machine-config': machine }))
    const args = ['--no-api', '--config-file', config, '--level', 'Error']
    const limits = { timeout: trialTimeoutMs, maxBuffer: outputBytesMax, killSignal: 'SIGKILL' } as const
    const { stdout } = await run(await locate(binary), args, limits)
    return /Linux version/.test(stdout) ? null : 'Firecracker ended and the kernel had said nothing'
  } catch (error) {
    return trialFailure(error)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function ask(path: string): Promise<BinaryFacts> {
  const [version, format] = await Promise.all([words(path, '--version'), words(path, '--snapshot-version')])
  const [ours, theirs] = [parseVersion(version), parseVersion(format)]
  if (ours === null || !/firecracker/i.test(version)) {
    const message = `${path} does not say which Firecracker it is: ${version.slice(0, 100)}`
    throw new TidegateError('hypervisor_failed', message)
  }
  const facts = { version: versionText(ours), format: theirs === null ? '' : versionText(theirs) }
  requireSupported(facts.version)
  return facts
}

async function words(path: string, argument: string): Promise<string> {
  try {
    return (await run(path, [argument], { timeout: askTimeoutMs, maxBuffer: outputBytesMax })).stdout
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new TidegateError('hypervisor_failed', `cannot run ${path} ${argument}: ${reason}`, {
      cause: error,
    })
  }
}

async function locate(binary: string): Promise<string> {
  const folders = (process.env.PATH ?? '').split(delimiter)
  const candidates = binary.includes('/') ? [resolve(binary)] : folders.map(folder => join(folder, binary))
  for (const candidate of candidates) {
    const usable = await access(candidate, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (usable) return candidate
  }
  throw new TidegateError(
    'hypervisor_failed',
    `${binary} was not found; install Firecracker and set nodes[].options.binary to its path`,
  )
}

function trialFailure(error: unknown): string | null {
  if (!(error instanceof Error)) return String(error)
  const {
    killed = false,
    stdout = '',
    stderr = '',
  } = error as Partial<Record<'stdout' | 'stderr', string>> & {
    killed?: boolean
  }
  // However it ended: a kernel that ran is one that runs.
  if (/Linux version/.test(stdout)) return null
  if (killed) return `a kernel started under it did not come up within ${trialTimeoutMs / 1000} s`
  return (stderr.trim() || stdout.trim()).split('\n').at(-1) || error.message
}
