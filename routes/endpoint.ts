/**
 * An endpoint as data: what it takes, what it answers, and the function between. @pure
 * `server.ts` serves these and `openapi.ts` describes them, so the description cannot say anything else than what is served.
 */
import type { Actor } from '../lib/command.ts'
import { type ErrorCode, TidegateError } from '../lib/errors.ts'
import { check, pathText, z } from '../lib/schema.ts'
import { parseDuration } from '../lib/units.ts'
import type { ControlPort } from './ports.ts'

export interface Asked<Query, Body> {
  readonly params: Readonly<Record<string, string>>
  readonly query: Query
  readonly body: Body
  readonly actor: Actor
}

export interface Answer {
  readonly status: number
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

export interface AnswerDescription {
  readonly description: string
  /** Of a JSON body. */
  readonly shape?: z.ZodType
  /** Of a body that is text. */
  readonly mediaType?: string
}

export interface Endpoint<Query = unknown, Body = unknown> {
  /** The operation's name in OpenAPI. */
  readonly id: string
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** With parameters as `{cluster}`. */
  readonly path: string
  readonly summary: string
  readonly query?: z.ZodType<Query>
  readonly body?: z.ZodType<Body>
  /** Answers that are not errors, by status. */
  readonly answers: Readonly<Record<number, AnswerDescription>>
  /** What else it may answer, besides what every endpoint may. */
  readonly errors: readonly ErrorCode[]
  handle(asked: Asked<Query, Body>, control: ControlPort): Answer | Promise<Answer>
}

/** Keeps the types of query and body inside, and forgets them outside. */
export const endpoint = <Query, Body>(one: Endpoint<Query, Body>): Endpoint => one as unknown as Endpoint

/** `value` as the schema makes it, or `invalid_request` that names every faulty field and its fix. */
export function accept<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const result = check(schema, value)
  if (result.ok) return result.value
  const faults = result.faults.map(({ path, message, fix }) => ({ field: pathText(path), message, fix }))
  const sentences = faults.map(({ field, message, fix }) =>
    field === '' ? `${message} (${fix})` : `${field}: ${message} (${fix})`,
  )
  throw new TidegateError('invalid_request', `The ${what} is faulty: ${sentences.join('; ')}`, {
    details: { faults },
  })
}

const waitMsMax = 600_000

/** `?wait=60s`, at most 10 minutes; null without. */
export const waitField = z
  .string()
  .transform((value, ctx): number => {
    const parsed = parseDuration(value)
    if (parsed.ok && parsed.value <= waitMsMax) return parsed.value
    const { message, fix } = parsed.ok
      ? { message: `\`${value}\` is too long`, fix: 'at most 10m' }
      : { message: parsed.message, fix: parsed.fix }
    ctx.addIssue({ code: 'custom', message, params: { fix } })
    return z.NEVER
  })
  .optional()
  .meta({ description: 'Answer when it has ended, at the latest after this time: `30s`, `10m` at most.' })

/** A whole number in a query string. */
export const countField = (min: number, max: number, fallback: number) =>
  z
    .string()
    .transform((value, ctx): number => {
      const count = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN
      if (count >= min && count <= max) return count
      const fix = `a whole number from ${min} to ${max}`
      ctx.addIssue({ code: 'custom', message: `\`${value.slice(0, 40)}\` is out of bounds`, params: { fix } })
      return z.NEVER
    })
    .default(fallback)
    .meta({ description: `A whole number from ${min} to ${max}; default ${fallback}.` })
