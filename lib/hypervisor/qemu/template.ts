/**
 * What an operator may say about a VM (`instance.template`) and about a node (`nodes[].options`), checked. @pure
 * It looks at shapes only; whether the files exist is seen when they are needed.
 */
import { TidegateError } from '../../errors.ts'
import { type NetworkKind, networkKinds } from '../network/network.ts'
import { type Pool, parsePool, poolDefault } from '../network/plan.ts'

export type AcceleratorChoice = 'auto' | 'kvm' | 'tcg'
export type MachineKind = 'pc' | 'q35'

export interface QemuTemplate {
  /** Paths of a Linux kernel, and of the initial file system that holds the application. */
  readonly kernel: string
  readonly initrd: string
  /** Added to the kernel's command line. */
  readonly append: string
  readonly machine: MachineKind
  readonly accelerator: AcceleratorChoice
  /** Extra environment of the application. */
  readonly env: Readonly<Record<string, string>>
  /** Whether the guest may open connections of its own. It would reach this machine's loopback too, hence false. */
  readonly outbound: boolean
  /** What an instance can grow to while it runs; null: four CPUs, twice its memory. */
  readonly cpusMax: number | null
  readonly memoryMaxBytes: number | null
  /** A disk of `resources.disk`, empty or on top of an image that is only read. Null: none. */
  readonly disk: { readonly base: string | null } | null
  /** Null: the node's. */
  readonly network: NetworkKind | null
  readonly snapshot: SnapshotChoice | null
}

/**
 * How a booted VM is saved. `copy`: its memory is a file, copied while it stands still. `background`: it runs on while its
 * pages are written, protected from writes until they are; the first clone comes seconds later. `auto`: by its size.
 */
export type SnapshotChoice = 'auto' | 'copy' | 'background'

export interface QemuOptions {
  readonly binary: string
  readonly accelerator: AcceleratorChoice
  /** How long a cold boot may take until the guest's agent answers. */
  readonly bootTimeoutMs: number
  readonly network: NetworkKind
  /** Addresses for instances in namespaces. */
  readonly pool: Pool
  readonly snapshot: SnapshotChoice
}

const accelerators: readonly string[] = ['auto', 'kvm', 'tcg']
const machines: readonly string[] = ['pc', 'q35']
const snapshots: readonly string[] = ['auto', 'copy', 'background']
const templateKeys = [
  ...['kernel', 'initrd', 'append', 'machine', 'accelerator', 'env', 'outbound'],
  ...['cpus_max', 'memory_max', 'disk', 'network', 'snapshot'],
]
const optionKeys = ['binary', 'accelerator', 'boot_timeout_ms', 'network', 'network_pool', 'snapshot']
const appendCharsMax = 1024
const envNamesMax = 64
const envValueCharsMax = 4096
const bootTimeoutMs = { min: 1_000, default: 120_000, max: 3_600_000 }

type Raw = Readonly<Record<string, unknown>>

/** Throws `template_invalid` that names the field and the fix. */
export function parseTemplate(raw: Raw): QemuTemplate {
  const at = (field: string) => `instance.template.${field}`
  refuseUnknown(raw, templateKeys, at)
  return {
    kernel: filePath(raw.kernel, at('kernel')),
    initrd: filePath(raw.initrd, at('initrd')),
    append: kernelArguments(raw.append, at('append')),
    machine: oneOf(raw.machine, machines, 'pc', at('machine')) as MachineKind,
    accelerator: oneOf(raw.accelerator, accelerators, 'auto', at('accelerator')) as AcceleratorChoice,
    env: environment(raw.env, at('env')),
    outbound: flag(raw.outbound, at('outbound')),
    cpusMax: raw.cpus_max === undefined ? null : count(raw.cpus_max, at('cpus_max')),
    memoryMaxBytes: raw.memory_max === undefined ? null : size(raw.memory_max, at('memory_max')),
    disk: disk(raw.disk, at('disk')),
    network: raw.network === undefined ? null : networkKind(raw.network, at('network')),
    snapshot: raw.snapshot === undefined ? null : snapshotChoice(raw.snapshot, at('snapshot')),
  }
}

/** Throws `invalid_config` that names the field and the fix. */
export function parseOptions(raw: Raw): QemuOptions {
  try {
    return options(raw)
  } catch (error) {
    if (!(error instanceof TidegateError)) throw error
    throw new TidegateError('invalid_config', error.message, { details: { ...error.details } })
  }
}

function options(raw: Raw): QemuOptions {
  const at = (field: string) => `nodes[].options.${field}`
  refuseUnknown(raw, optionKeys, at)
  const { binary = 'qemu-system-x86_64', boot_timeout_ms: timeout = bootTimeoutMs.default } = raw
  if (typeof binary !== 'string' || binary === '') {
    throw invalid(at('binary'), 'the name or path of a QEMU binary')
  }
  const { min, max } = bootTimeoutMs
  if (typeof timeout !== 'number' || !Number.isInteger(timeout) || timeout < min || timeout > max) {
    throw invalid(at('boot_timeout_ms'), `milliseconds, ${min} to ${max}`)
  }
  const accelerator = oneOf(raw.accelerator, accelerators, 'auto', at('accelerator')) as AcceleratorChoice
  return {
    binary,
    accelerator,
    bootTimeoutMs: timeout,
    network: networkKind(raw.network, at('network')),
    pool: parsePool(raw.network_pool ?? poolDefault, at('network_pool')),
    snapshot: snapshotChoice(raw.snapshot, at('snapshot')),
  }
}

function refuseUnknown(raw: Raw, known: readonly string[], at: (field: string) => string): void {
  const stranger = Object.keys(raw).find(key => !known.includes(key))
  if (stranger !== undefined) throw invalid(at(stranger), `left out; known are ${known.join(', ')}`)
}

function filePath(value: unknown, where: string): string {
  if (typeof value === 'string' && value !== '' && !value.includes('\0')) return value
  throw invalid(where, 'the path of a file; `node examples/vm/build-image.ts` builds an image to point at')
}

function kernelArguments(value: unknown = '', where: string): string {
  if (typeof value === 'string' && value.length <= appendCharsMax && !/[\0\n]/.test(value)) return value
  throw invalid(where, `one line of at most ${appendCharsMax} characters`)
}

function oneOf(value: unknown, allowed: readonly string[], fallback: string, where: string): string {
  if (value === undefined) return fallback
  if (typeof value === 'string' && allowed.includes(value)) return value
  throw invalid(where, `one of ${allowed.join(', ')}`)
}

function flag(value: unknown = false, where: string): boolean {
  if (typeof value === 'boolean') return value
  throw invalid(where, 'true or false')
}

const networkKind = (value: unknown, where: string) =>
  oneOf(value, networkKinds, 'user', where) as NetworkKind

const snapshotChoice = (value: unknown, where: string) =>
  oneOf(value, snapshots, 'auto', where) as SnapshotChoice

function count(value: unknown, where: string): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1) return value
  throw invalid(where, 'a whole number of CPUs')
}

function size(value: unknown, where: string): number {
  const match = typeof value === 'string' ? /^(\d{1,6})(MiB|GiB)$/.exec(value) : null
  if (match !== null) return Number(match[1]) * (match[2] === 'GiB' ? 1024 ** 3 : 1024 ** 2)
  throw invalid(where, 'a size in MiB or GiB, like 2GiB')
}

/** `true`: an empty one. A path: on top of that image. */
function disk(value: unknown = false, where: string): QemuTemplate['disk'] {
  if (value === false) return null
  if (value === true) return { base: null }
  if (typeof value === 'string' && value !== '' && !value.includes('\0')) return { base: value }
  throw invalid(where, 'true for an empty disk, or the path of a disk image to start from')
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
