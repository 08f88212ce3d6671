/**
 * What an operator may say about a VM (`instance.template`) and about a node (`nodes[].options`), checked. @pure
 * It looks at shapes only; whether the files exist is seen when they are needed.
 */
import { type NetworkKind, networkKinds } from '../network/network.ts'
import { type Pool, parsePool, poolDefault } from '../network/plan.ts'
import {
  asOptions,
  binaryName,
  bootTimeout,
  environment,
  flag,
  imagePath,
  inOptions,
  inTemplate,
  invalid,
  kernelArguments,
  oneOf,
  type Raw,
  refuseUnknown,
  size,
} from '../vm/template-fields.ts'

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

const accelerators: readonly AcceleratorChoice[] = ['auto', 'kvm', 'tcg']
const machines: readonly MachineKind[] = ['pc', 'q35']
const snapshots: readonly SnapshotChoice[] = ['auto', 'copy', 'background']
const templateKeys = [
  ...['kernel', 'initrd', 'append', 'machine', 'accelerator', 'env', 'outbound'],
  ...['cpus_max', 'memory_max', 'disk', 'network', 'snapshot'],
]
const optionKeys = ['binary', 'accelerator', 'boot_timeout_ms', 'network', 'network_pool', 'snapshot']

/** Throws `template_invalid` that names the field and the fix. */
export function parseTemplate(raw: Raw): QemuTemplate {
  const at = inTemplate
  refuseUnknown(raw, templateKeys, at)
  return {
    kernel: imagePath(raw.kernel, at('kernel')),
    initrd: imagePath(raw.initrd, at('initrd')),
    append: kernelArguments(raw.append, at('append')),
    machine: oneOf(raw.machine, machines, 'pc', at('machine')),
    accelerator: oneOf(raw.accelerator, accelerators, 'auto', at('accelerator')),
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
export const parseOptions = (raw: Raw): QemuOptions => asOptions(() => options(raw))

function options(raw: Raw): QemuOptions {
  const at = inOptions
  refuseUnknown(raw, optionKeys, at)
  return {
    binary: binaryName(raw.binary, 'qemu-system-x86_64', 'a QEMU binary', at('binary')),
    accelerator: oneOf(raw.accelerator, accelerators, 'auto', at('accelerator')),
    bootTimeoutMs: bootTimeout(raw.boot_timeout_ms, at('boot_timeout_ms')),
    network: networkKind(raw.network, at('network')),
    pool: parsePool(raw.network_pool ?? poolDefault, at('network_pool')),
    snapshot: snapshotChoice(raw.snapshot, at('snapshot')),
  }
}

const networkKind = (value: unknown, where: string) => oneOf(value, networkKinds, 'user', where)

const snapshotChoice = (value: unknown, where: string) => oneOf(value, snapshots, 'auto', where)

function count(value: unknown, where: string): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1) return value
  throw invalid(where, 'a whole number of CPUs')
}

/** `true`: an empty one. A path: on top of that image. */
function disk(value: unknown = false, where: string): QemuTemplate['disk'] {
  if (value === false) return null
  if (value === true) return { base: null }
  if (typeof value === 'string' && value !== '' && !value.includes('\0')) return { base: value }
  throw invalid(where, 'true for an empty disk, or the path of a disk image to start from')
}
