/**
 * The process driver's template and options: what may be in them, and what is wrong with them. @pure
 *
 *   template: { command: [node, app.js], env: { MODE: demo }, cwd: /srv/app }      options: { start_timeout_ms: 30000 }
 */
import { TidegateError } from '../../errors.ts'

export interface ProcessTemplate {
  readonly command: readonly [string, ...string[]]
  readonly env: Readonly<Record<string, string>>
  /** Null: where Tidegate was started. */
  readonly cwd: string | null
}

export interface ProcessOptions {
  /** How long a new instance may take until it answers. */
  readonly startTimeoutMs: number
}

const commandWordsMax = 256
const envEntriesMax = 256
const textBytesMax = 32 * 1024
const startTimeoutMs = { min: 100, default: 30_000, max: 600_000 }

/** Throws `template_invalid` with every fault in its message and in `details.faults`. */
export function parseTemplate(template: Readonly<Record<string, unknown>>): ProcessTemplate {
  const { command, env, cwd, ...rest } = template
  const faults = [
    ...Object.keys(rest).map(key => `${key}: there is no such field; use command, env, cwd`),
    ...commandFaults(command),
    ...envFaults(env),
    ...(cwd === undefined || isText(cwd) ? [] : ['cwd: give a directory']),
  ]
  if (faults.length > 0) {
    throw new TidegateError('template_invalid', `process template: ${faults.join('; ')}`, {
      details: { faults },
    })
  }
  return {
    command: command as [string, ...string[]],
    env: (env ?? {}) as Record<string, string>,
    cwd: (cwd ?? null) as string | null,
  }
}

/** Throws `invalid_config`. */
export function parseOptions(options: Readonly<Record<string, unknown>>): ProcessOptions {
  const { start_timeout_ms: timeout = startTimeoutMs.default, ...rest } = options
  const [unknown] = Object.keys(rest)
  if (unknown !== undefined) {
    throw new TidegateError('invalid_config', `process options: ${unknown}: there is only start_timeout_ms`)
  }
  const { min, max } = startTimeoutMs
  if (typeof timeout !== 'number' || !Number.isInteger(timeout) || timeout < min || timeout > max) {
    throw new TidegateError(
      'invalid_config',
      `process options: start_timeout_ms: give milliseconds, ${min} to ${max}`,
    )
  }
  return { startTimeoutMs: timeout }
}

function commandFaults(command: unknown): readonly string[] {
  if (!Array.isArray(command) || command.length === 0) {
    return ['command: give a list of words, as in [node, app.js]']
  }
  if (command.length > commandWordsMax) return [`command: at most ${commandWordsMax} words`]
  return command.flatMap((word, i) =>
    isText(word) || (word === '' && i > 0) ? [] : [`command[${i}]: give a text (quote numbers)`],
  )
}

function envFaults(env: unknown): readonly string[] {
  if (env === undefined) return []
  if (typeof env !== 'object' || env === null || Array.isArray(env)) return ['env: give names and values']
  const entries = Object.entries(env)
  if (entries.length > envEntriesMax) return [`env: at most ${envEntriesMax} entries`]
  return entries.flatMap(([name, value]) => {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) return [`env.${name}: not a name for an environment variable`]
    if (name === 'PORT' || name.startsWith('TIDEGATE_')) return [`env.${name}: Tidegate sets this one itself`]
    return isText(value) || value === '' ? [] : [`env.${name}: give a text (quote numbers and true/false)`]
  })
}

const isText = (value: unknown): value is string =>
  typeof value === 'string' && value !== '' && value.length <= textBytesMax && !value.includes('\0')
