/**
 * What an operator may say about a microVM (`instance.template`) and about a node (`nodes[].options`), checked. @pure
 * It looks at shapes only; whether the files exist is seen when they are needed. What Firecracker offers and this driver
 * does not take is refused with the reason, not as a stranger.
 */
import { TidegateError } from '../../errors.ts'
import { parseSize } from '../../units.ts'
import { type Pool, parsePool, poolDefault } from '../network/plan.ts'

export interface FirecrackerTemplate {
  /** Paths. Uncompressed ELF (`vmlinux`), or from Firecracker 1.17 a `bzImage` too. */
  readonly kernel: string
  /** One of the two holds the application; with both, the initial file system mounts the root one. */
  readonly initrd: string | null
  readonly rootfs: string | null
  /** All instances share a root file system that none writes to; else each has a copy. */
  readonly rootfsReadOnly: boolean
  /** Added to the kernel's command line. */
  readonly append: string
  /** Extra environment of the application. */
  readonly env: Readonly<Record<string, string>>
  /** Whether the guest may open connections of its own. */
  readonly outbound: boolean
  /** How far `resize` may raise the memory; null: not at all. */
  readonly memoryMaxBytes: number | null
  /** A balloon device, with which `resize` may lower the memory. */
  readonly balloon: boolean
  /** Snapshots of a booted (not cloned) VM hold only the pages that it ever touched. */
  readonly sparseSnapshots: boolean
}

export interface FirecrackerOptions {
  readonly binary: string
  /** Where instances get their addresses from. */
  readonly networkPool: Pool
  /** How long a cold boot may take until the guest's agent answers. */
  readonly bootTimeoutMs: number
}

const templateKeys = [
  ...['kernel', 'initrd', 'rootfs', 'rootfs_read_only', 'append', 'env', 'outbound'],
  ...['memory_max', 'balloon', 'sparse_snapshots', 'memory_backend', 'huge_pages'],
]
const optionKeys = ['binary', 'network_pool', 'boot_timeout_ms']
/** The kernel takes 2048 characters, of which ours and the devices' are some. */
const appendCharsMax = 1024
const envNamesMax = 64
const envValueCharsMax = 4096
const bootTimeoutMs = { min: 1_000, default: 120_000, max: 3_600_000 }

const noUffd =
  '`file`: `uffd` needs a process beside every clone that fills in its memory, and a clone whose process ' +
  'dies stands still for ever; the kernel pages a file in by itself'
const noHugePages =
  '`none`: a snapshot of a VM on huge pages can be restored only through userfaultfd, which is refused too'

type Raw = Readonly<Record<string, unknown>>
type At = (field: string) => string

/** Throws `template_invalid` that names the field and the fix. */
export function parseTemplate(raw: Raw): FirecrackerTemplate {
  const at: At = field => `instance.template.${field}`
  refuseUnknown(raw, templateKeys, at)
  if (![undefined, 'file'].includes(raw.memory_backend as string)) throw invalid(at('memory_backend'), noUffd)
  if (![undefined, 'none'].includes(raw.huge_pages as string)) throw invalid(at('huge_pages'), noHugePages)
  const initrd = raw.initrd === undefined ? null : filePath(raw.initrd, at('initrd'))
  const rootfs = raw.rootfs === undefined ? null : filePath(raw.rootfs, at('rootfs'))
  if (initrd === null && rootfs === null) {
    throw invalid(at('initrd'), 'given, or else `rootfs`: one of them holds the application')
  }
  return {
    kernel: filePath(raw.kernel, at('kernel')),
    initrd,
    rootfs,
    rootfsReadOnly: flag(raw.rootfs_read_only, at('rootfs_read_only')),
    append: kernelArguments(raw.append, at('append')),
    env: environment(raw.env, at('env')),
    outbound: flag(raw.outbound, at('outbound')),
    memoryMaxBytes: raw.memory_max === undefined ? null : size(raw.memory_max, at('memory_max')),
    balloon: flag(raw.balloon, at('balloon')),
    sparseSnapshots: flag(raw.sparse_snapshots, at('sparse_snapshots')),
  }
}

/** Throws `invalid_config` that names the field and the fix. */
export function parseOptions(raw: Raw): FirecrackerOptions {
  try {
    return options(raw)
  } catch (error) {
    if (!(error instanceof TidegateError)) throw error
    throw new TidegateError('invalid_config', error.message, { details: { ...error.details } })
  }
}

function options(raw: Raw): FirecrackerOptions {
  const at: At = field => `nodes[].options.${field}`
  refuseUnknown(raw, optionKeys, at)
  const { binary = 'firecracker', boot_timeout_ms: timeout = bootTimeoutMs.default } = raw
  if (typeof binary !== 'string' || binary === '') {
    throw invalid(at('binary'), 'the name or path of a Firecracker binary')
  }
  const { min, max } = bootTimeoutMs
  if (typeof timeout !== 'number' || !Number.isInteger(timeout) || timeout < min || timeout > max) {
    throw invalid(at('boot_timeout_ms'), `milliseconds, ${min} to ${max}`)
  }
  const networkPool = parsePool(raw.network_pool ?? poolDefault, at('network_pool'))
  return { binary, networkPool, bootTimeoutMs: timeout }
}

function refuseUnknown(raw: Raw, known: readonly string[], at: At): void {
  const stranger = Object.keys(raw).find(key => !known.includes(key))
  if (stranger !== undefined) throw invalid(at(stranger), `left out; known are ${known.join(', ')}`)
}

function filePath(value: unknown, where: string): string {
  if (typeof value === 'string' && value !== '' && !value.includes('\0')) return value
  throw invalid(where, 'the path of a file')
}

function kernelArguments(value: unknown = '', where: string): string {
  if (typeof value === 'string' && value.length <= appendCharsMax && /^[\x20-\x7e]*$/.test(value))
    return value
  throw invalid(where, `one line of at most ${appendCharsMax} plain characters`)
}

function flag(value: unknown = false, where: string): boolean {
  if (typeof value === 'boolean') return value
  throw invalid(where, 'true or false')
}

function size(value: unknown, where: string): number {
  const parsed = parseSize(value)
  if (parsed.ok) return parsed.value
  throw invalid(where, `a size, as 2GiB: ${parsed.message}`)
}

function environment(value: unknown = {}, where: string): Record<string, string> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(where, 'a map of names to strings')
  }
  const entries = Object.entries(value)
  if (entries.length > envNamesMax) throw invalid(where, `at most ${envNamesMax} names`)
  return Object.fromEntries(entries.map(([name, text]) => [name, environmentValue(name, text, where)]))
}

function environmentValue(name: string, text: unknown, where: string): string {
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
    throw invalid(`${where}.${name}`, 'a name of A-Z, a-z, 0-9 and "_"')
  if (typeof text === 'string' && text.length <= envValueCharsMax && !text.includes('\0')) return text
  throw invalid(`${where}.${name}`, `a string of at most ${envValueCharsMax} characters`)
}

const invalid = (where: string, wanted: string): TidegateError =>
  new TidegateError('template_invalid', `${where} must be ${wanted}`, { details: { field: where } })
