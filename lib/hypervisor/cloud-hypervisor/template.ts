/**
 * What an operator may say about a Cloud Hypervisor VM (`instance.template`) and about a node (`nodes[].options`), checked. @pure
 * It looks at shapes only; whether the files exist is seen when they are needed.
 */
import { TidegateError } from '../../errors.ts'
import { parseSize } from '../../units.ts'
import { type Pool, parsePool, poolDefault } from '../network/plan.ts'
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
  ...['max_cpus', 'max_memory', 'memory_backing', 'restore'],
]
const optionKeys = ['binary', 'boot_timeout_ms', 'network_pool']
const diskKeys = ['path', 'readonly']
const disksMax = 8
const cpusMaxMax = 254
const appendCharsMax = 1024
const envNamesMax = 64
const envValueCharsMax = 4096
const bootTimeoutMs = { min: 1_000, default: 120_000, max: 3_600_000 }

type Raw = Readonly<Record<string, unknown>>
type At = (field: string) => string

/** Throws `template_invalid` that names the field and the fix. */
export function parseTemplate(raw: Raw): CloudHypervisorTemplate {
  const at: At = field => `instance.template.${field}`
  refuseUnknown(raw, templateKeys, at)
  return {
    kernel: filePath(raw.kernel, at('kernel')),
    initrd: filePath(raw.initrd, at('initrd')),
    append: kernelArguments(raw.append, at('append')),
    env: environment(raw.env, at('env')),
    disks: disks(raw.disks, at('disks')),
    cpusMax: raw.max_cpus === undefined ? null : wholeNumber(raw.max_cpus, at('max_cpus'), 1, cpusMaxMax),
    memoryMaxBytes: raw.max_memory === undefined ? null : size(raw.max_memory, at('max_memory')),
    memoryBacking: oneOf(raw.memory_backing, ['file', 'anonymous'], 'file', at('memory_backing')),
    restore: oneOf(raw.restore, restoreChoices, 'auto', at('restore')),
  }
}

/** Throws `invalid_config` that names the field and the fix. */
export function parseOptions(raw: Raw): CloudHypervisorOptions {
  try {
    return options(raw)
  } catch (error) {
    if (!(error instanceof TidegateError)) throw error
    throw new TidegateError('invalid_config', error.message, { details: { ...error.details } })
  }
}

function options(raw: Raw): CloudHypervisorOptions {
  const at: At = field => `nodes[].options.${field}`
  refuseUnknown(raw, optionKeys, at)
  const { binary = 'cloud-hypervisor', boot_timeout_ms: timeout = bootTimeoutMs.default } = raw
  if (typeof binary !== 'string' || binary === '') {
    throw invalid(at('binary'), 'the name or path of a Cloud Hypervisor binary')
  }
  const { min, max } = bootTimeoutMs
  const pool = parsePool(raw.network_pool ?? poolDefault, at('network_pool'))
  return { binary, bootTimeoutMs: wholeNumber(timeout, at('boot_timeout_ms'), min, max), pool }
}

function refuseUnknown(raw: Raw, known: readonly string[], at: At): void {
  const stranger = Object.keys(raw).find(key => !known.includes(key))
  if (stranger !== undefined) throw invalid(at(stranger), `left out; known are ${known.join(', ')}`)
}

function filePath(value: unknown, where: string): string {
  if (typeof value === 'string' && value !== '' && !value.includes('\0')) return value
  throw invalid(where, 'the path of a file; `node examples/vm/build-image.ts` builds an image to point at')
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

function kernelArguments(value: unknown = '', where: string): string {
  if (typeof value === 'string' && value.length <= appendCharsMax && !/[\0\n]/.test(value)) return value
  throw invalid(where, `one line of at most ${appendCharsMax} characters`)
}

function oneOf<T extends string>(value: unknown, allowed: readonly T[], fallback: T, where: string): T {
  if (value === undefined) return fallback
  if (allowed.includes(value as T)) return value as T
  throw invalid(where, `one of ${allowed.join(', ')}`)
}

function flag(value: unknown = false, where: string): boolean {
  if (typeof value === 'boolean') return value
  throw invalid(where, 'true or false')
}

function wholeNumber(value: unknown, where: string, min: number, max: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
  throw invalid(where, `a whole number, ${min} to ${max}`)
}

function size(value: unknown, where: string): number {
  const parsed = parseSize(value)
  if (parsed.ok) return parsed.value
  throw invalid(where, `a size: ${parsed.fix}`)
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
