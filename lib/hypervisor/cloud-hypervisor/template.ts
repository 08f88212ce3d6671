/**
 * What an operator may say about a Cloud Hypervisor VM (`instance.template`) and about a node (`nodes[].options`), checked. @pure
 * It looks at shapes only; whether the files exist is seen when they are needed.
 */
import { type Pool, parsePool, poolDefault } from '../network/plan.ts'
import {
  type At,
  asOptions,
  binaryName,
  bootTimeout,
  environment,
  filePath,
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
import { type RestoreChoice, restoreChoices } from './restore-mode.ts'

export interface DiskTemplate {
  /** A raw image. Every instance has its own copy of one that is written to. */
  readonly path: string
  readonly readonly: boolean
}

export interface CloudHypervisorTemplate {
  /** Paths of a Linux kernel (a bzImage or a vmlinux with a PVH entry), and of the initial file system. */
  readonly kernel: string
  readonly initrd: string
  /** Added to the kernel's command line. */
  readonly append: string
  /** Extra environment of the application. */
  readonly env: Readonly<Record<string, string>>
  readonly disks: readonly DiskTemplate[]
  /** How far `resize` may go; null: not beyond what the instance is made with. */
  readonly cpusMax: number | null
  readonly memoryMaxBytes: number | null
  /** `file`: clones share it until they write. `anonymous`: for what cannot use it, and each clone has its own. */
  readonly memoryBacking: 'file' | 'anonymous'
  /** How clones get memory that is in no file of its own. */
  readonly restore: RestoreChoice
}

export interface CloudHypervisorOptions {
  readonly binary: string
  /** How long a cold boot may take until the guest's agent answers. */
  readonly bootTimeoutMs: number
  /** Where instances get the addresses from at which they are reached. */
  readonly pool: Pool
}

const templateKeys = [
  ...['kernel', 'initrd', 'append', 'env', 'disks'],
  ...['cpus_max', 'memory_max', 'memory_backing', 'restore'],
]
const optionKeys = ['binary', 'boot_timeout_ms', 'network_pool']
const diskKeys = ['path', 'readonly']
const disksMax = 8
const cpusMaxMax = 254

/** Throws `template_invalid` that names the field and the fix. */
export function parseTemplate(raw: Raw): CloudHypervisorTemplate {
  const at = inTemplate
  refuseUnknown(raw, templateKeys, at)
  return {
    kernel: imagePath(raw.kernel, at('kernel')),
    initrd: imagePath(raw.initrd, at('initrd')),
    append: kernelArguments(raw.append, at('append')),
    env: environment(raw.env, at('env')),
    disks: disks(raw.disks, at('disks')),
    cpusMax: raw.cpus_max === undefined ? null : wholeNumber(raw.cpus_max, at('cpus_max'), 1, cpusMaxMax),
    memoryMaxBytes: raw.memory_max === undefined ? null : size(raw.memory_max, at('memory_max')),
    memoryBacking: oneOf(raw.memory_backing, ['file', 'anonymous'], 'file', at('memory_backing')),
    restore: oneOf(raw.restore, restoreChoices, 'auto', at('restore')),
  }
}

/** Throws `invalid_config` that names the field and the fix. */
export const parseOptions = (raw: Raw): CloudHypervisorOptions => asOptions(() => options(raw))

function options(raw: Raw): CloudHypervisorOptions {
  const at = inOptions
  refuseUnknown(raw, optionKeys, at)
  return {
    binary: binaryName(raw.binary, 'cloud-hypervisor', 'a Cloud Hypervisor binary', at('binary')),
    bootTimeoutMs: bootTimeout(raw.boot_timeout_ms, at('boot_timeout_ms')),
    pool: parsePool(raw.network_pool ?? poolDefault, at('network_pool')),
  }
}

function disks(value: unknown = [], where: string): DiskTemplate[] {
  if (!Array.isArray(value) || value.length > disksMax) {
    throw invalid(where, `a list of at most ${disksMax}, as [{ path: data.raw, readonly: false }]`)
  }
  return value.map((disk: unknown, index) => {
    const at: At = field => `${where}[${index}].${field}`
    if (typeof disk !== 'object' || disk === null)
      throw invalid(`${where}[${index}]`, 'as { path: data.raw }')
    const entry = disk as Raw
    refuseUnknown(entry, diskKeys, at)
    return { path: filePath(entry.path, at('path')), readonly: flag(entry.readonly, at('readonly')) }
  })
}

function wholeNumber(value: unknown, where: string, min: number, max: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
  throw invalid(where, `a whole number, ${min} to ${max}`)
}
