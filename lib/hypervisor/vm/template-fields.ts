/**
 * Fields that an operator may write into `instance.template` or `nodes[].options` of VMs, each read or refused with a sentence that names
 * it and the fix. @pure
 */
import { TidegateError } from '../../errors.ts'
import { parseSize } from '../../units.ts'

export type Raw = Readonly<Record<string, unknown>>
/** The full name of a field, for people. */
export type At = (field: string) => string

const appendCharsMax = 1024
const envNamesMax = 64
const envValueCharsMax = 4096
const bootTimeoutMs = { min: 1_000, default: 120_000, max: 3_600_000 }

export const inTemplate: At = field => `instance.template.${field}`
export const inOptions: At = field => `nodes[].options.${field}`

export const invalid = (where: string, wanted: string): TidegateError =>
  new TidegateError('template_invalid', `${where} must be ${wanted}`, { details: { field: where } })

/** Reads the options of a node: what is wrong with them is wrong with the configuration. Throws `invalid_config`. */
export function asOptions<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof TidegateError)) throw error
    throw new TidegateError('invalid_config', error.message, { details: { ...error.details } })
  }
}

export function refuseUnknown(raw: Raw, known: readonly string[], at: At): void {
  const stranger = Object.keys(raw).find(key => !known.includes(key))
  if (stranger !== undefined) throw invalid(at(stranger), `left out; known are ${known.join(', ')}`)
}

export function filePath(value: unknown, where: string, wanted = 'the path of a file'): string {
  if (typeof value === 'string' && value !== '' && !value.includes('\0')) return value
  throw invalid(where, wanted)
}

/** Of the image that our example can be built into. */
export const imagePath = (value: unknown, where: string): string =>
  filePath(value, where, 'the path of a file; `node examples/vm/build-image.ts` builds an image to point at')

/** `what`: as `a QEMU binary`. */
export function binaryName(value: unknown, fallback: string, what: string, where: string): string {
  if (value === undefined) return fallback
  if (typeof value === 'string' && value !== '') return value
  throw invalid(where, `the name or path of ${what}`)
}

/** How long a cold boot may take until the guest's agent answers, milliseconds. */
export function bootTimeout(value: unknown = bootTimeoutMs.default, where: string): number {
  const { min, max } = bootTimeoutMs
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
  throw invalid(where, `a whole number of milliseconds, ${min} to ${max}`)
}

export function kernelArguments(value: unknown = '', where: string): string {
  if (typeof value === 'string' && value.length <= appendCharsMax && /^[\x20-\x7e]*$/.test(value))
    return value
  throw invalid(where, `one line of at most ${appendCharsMax} plain characters`)
}

export function oneOf<T extends string>(
  value: unknown,
  allowed: readonly T[],
  fallback: T,
  where: string,
): T {
  if (value === undefined) return fallback
  const found = allowed.find(one => one === value)
  if (found !== undefined) return found
  throw invalid(where, `one of ${allowed.join(', ')}`)
}

export function flag(value: unknown = false, where: string): boolean {
  if (typeof value === 'boolean') return value
  throw invalid(where, 'true or false')
}

export function size(value: unknown, where: string): number {
  const parsed = parseSize(value)
  if (parsed.ok) return parsed.value
  throw invalid(where, `a size: ${parsed.fix} (${parsed.message})`)
}

export function environment(value: unknown = {}, where: string): Record<string, string> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid(where, 'a map of names to strings')
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
