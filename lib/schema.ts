/**
 * Checks values of unknown shape and says what is wrong in people's words: every fault with its path and its fix. @pure
 * The only importing file of `zod`; config and the admin API build their schemas with the `z` of this file.
 * It knows no keys and no units of its own.
 */
import { z } from 'zod'

export { z }

export interface ShapeFault {
  readonly path: readonly (string | number)[]
  /** Whether the key itself is wrong (unknown), or its value. */
  readonly at: 'key' | 'value'
  readonly message: string
  readonly fix: string
}

export type Checked<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly faults: readonly ShapeFault[] }

/** An object that refuses keys it does not know. */
export function strict<S extends z.core.$ZodLooseShape>(shape: S): z.ZodObject<S, z.core.$strict> {
  // zod does not say which keys it would have taken; the message carries them to `unknownKeys`, which makes the faults.
  const known = Object.keys(shape).join(' ')
  return z.strictObject(shape, { error: issue => (issue.code === 'unrecognized_keys' ? known : undefined) })
}

/** Adds a fault of one's own inside a `transform` or `superRefine`. `path` is relative to the value. */
export function refuse(
  ctx: z.core.$RefinementCtx,
  message: string,
  fix: string,
  path: (string | number)[] = [],
): never {
  ctx.addIssue({ code: 'custom', message, path, params: { fix } })
  return z.NEVER
}

/** All faults at once. Never throws on data. */
export function check<T>(schema: z.ZodType<T>, value: unknown): Checked<T> {
  const result = schema.safeParse(value, { reportInput: true })
  if (result.success) return { ok: true, value: result.data }
  return { ok: false, faults: result.error.issues.flatMap(faultsOf) }
}

function faultsOf(issue: z.core.$ZodIssue): ShapeFault[] {
  const path = issue.path.map(part => (typeof part === 'number' ? part : String(part)))
  if (issue.code === 'unrecognized_keys') return unknownKeys(path, issue.keys, issue.message.split(' '))
  return [{ path, at: 'value', ...sentence(issue, nameOf(path)) }]
}

function unknownKeys(
  path: (string | number)[],
  keys: readonly string[],
  known: readonly string[],
): ShapeFault[] {
  return keys.map(key => {
    const near = nearest(key, known)
    return {
      path: [...path, key],
      at: 'key',
      message: `unknown key \`${key}\``,
      fix: near ? `did you mean \`${near}\`?` : `known here: ${known.join(', ')}`,
    }
  })
}

function sentence(issue: z.core.$ZodIssue, name: string): { message: string; fix: string } {
  const shown = show(issue.input)
  switch (issue.code) {
    case 'custom':
      if (issue.input === undefined)
        return { message: `\`${name}\` is missing`, fix: String(issue.params?.fix ?? `add \`${name}\``) }
      return { message: issue.message, fix: String(issue.params?.fix ?? '') }
    case 'invalid_type':
      if (issue.input === undefined) return { message: `\`${name}\` is missing`, fix: `add \`${name}\`` }
      return {
        message: `${shown} is not ${article(issue.expected)}`,
        fix: typeFix(issue.expected, issue.input),
      }
    case 'too_small':
      return {
        message: `${shown} is too ${issue.origin === 'number' ? 'low' : 'short'}`,
        fix: `at least ${issue.minimum}`,
      }
    case 'too_big':
      return {
        message: `${shown} is too ${issue.origin === 'number' ? 'high' : 'long'}`,
        fix: `at most ${issue.maximum}`,
      }
    case 'invalid_value':
      return choiceSentence(issue.input, issue.values.map(String), name)
    case 'invalid_union': {
      if (!('discriminator' in issue)) return { message: `${shown} has no known form`, fix: issue.message }
      const key = String(issue.discriminator)
      const chosen = (issue.input as Record<string, unknown> | null)?.[key]
      return choiceSentence(chosen, optionsOf(issue), key)
    }
    default:
      return { message: `${shown} is not valid`, fix: issue.message }
  }
}

/** zod gives the known discriminators at run time and leaves them out of its type. */
const optionsOf = (issue: object): string[] =>
  'options' in issue && Array.isArray(issue.options) ? issue.options.map(String) : []

/** What to say of a value that is none of `allowed`. */
export function choiceSentence(value: unknown, allowed: readonly string[], name: string) {
  if (value === undefined) return { message: `\`${name}\` is missing`, fix: `one of ${allowed.join(', ')}` }
  const near = typeof value === 'string' ? nearest(value, allowed) : null
  const list = `one of ${allowed.join(', ')}`
  return {
    message: `${show(value)} is not known here`,
    fix: near ? `did you mean \`${near}\`? (${list})` : list,
  }
}

/** The value as people see it in a file: short, in backquotes. */
export function show(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'an empty value'
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list'
  if (typeof value === 'object') return 'a group of keys'
  const text = String(value)
  return `\`${text.length > 60 ? `${text.slice(0, 57)}...` : text}\``
}

/** The candidate within a typing error or two of `word`, or null. */
export function nearest(word: string, candidates: readonly string[]): string | null {
  if (word.length > 64) return null
  const limit = word.length < 4 ? 1 : Math.max(2, Math.floor(word.length / 3))
  let best: string | null = null
  let bestDistance = limit + 1
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance]
  }
  return best
}

/** `clusters[0].health.interval` */
export function pathText(path: readonly (string | number)[]): string {
  let text = ''
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`
    else text += text === '' ? part : `.${part}`
  }
  return text
}

const nameOf = (path: readonly (string | number)[]): string => {
  const last = path.at(-1)
  return typeof last === 'string' ? last : pathText(path.slice(-2)) || 'the document'
}

const words: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a group of keys',
  record: 'a group of keys',
}
const article = (expected: string): string => words[expected] ?? expected

function typeFix(expected: string, input: unknown): string {
  if (expected === 'array') return 'write a list: `[ ... ]`, or one item a line after `- `'
  if (expected === 'object' || expected === 'record') return 'write keys and values: `{ key: value }`'
  if (expected === 'boolean') return 'write true or false, without quotes'
  if (expected === 'string') return typeof input === 'object' ? 'write one word or text' : 'put it in quotes'
  if (typeof input === 'string' && input.trim() !== '' && Number.isFinite(Number(input)))
    return 'write it without quotes'
  return `write ${article(expected)}`
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      row.push(Math.min(previous[j]! + 1, row[j - 1]! + 1, previous[j - 1]! + (same ? 0 : 1)))
    }
    previous = row
  }
  return previous[b.length]!
}
