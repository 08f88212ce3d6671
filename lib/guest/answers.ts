/**
 * What an agent answers, as far as it is believed. A guest is whoever broke into it: of each answer only the fields that are
 * known are taken, into a new object, of the right type and of bounded size, and its words are made fit for a log and a terminal.
 * Bodies are bounded before they are parsed.
 */
import type { IncomingMessage } from 'node:http'
import type {
  GuestFailureCode,
  IdentifyAnswer,
  LimitsAnswer,
  PingAnswer,
  ResizeAnswer,
  TakeBackAnswer,
} from './protocol.ts'
import { guestFailures, guestLimits, guestProtocolVersion } from './protocol.ts'

/** The guest answered with a failure. Kept apart from silence: an agent that says no is alive. */
export class AnswerError extends Error {
  readonly code: GuestFailureCode | null

  constructor(code: GuestFailureCode | null, message: string) {
    super(message)
    this.code = code
  }
}

const wordsCharsMax = 500
const warningsMax = 16

/** Throws `AnswerError`, or an error in words. */
export async function readAnswer<T>(
  response: IncomingMessage,
  what: string,
  taken: (value: Fields) => T | null,
): Promise<T> {
  if (response.statusCode !== 200) throw await readFailure(response)
  const value: unknown = JSON.parse(await readText(response))
  const answer = isFields(value) ? taken(value) : null
  if (answer === null) throw new Error(`its answer to ${what} is not understood`)
  return answer
}

export async function readFailure(response: IncomingMessage): Promise<AnswerError> {
  let body: unknown = null
  try {
    body = JSON.parse(await readText(response))
  } catch {
    // The status alone then.
  }
  const error = isFields(body) && isFields(body.error) ? body.error : {}
  const code = typeof error.code === 'string' && Object.hasOwn(guestFailures, error.code) ? error.code : null
  const message = typeof error.message === 'string' ? words(error.message) : `status ${response.statusCode}`
  return new AnswerError(code as GuestFailureCode | null, message)
}

export function pingAnswer({ protocol, pid, hooks, identity }: Fields): PingAnswer | null {
  if (protocol !== guestProtocolVersion || !isFields(hooks)) return null
  const { hand_over, take_back, identified } = hooks
  const known = isFields(identity) ? identity : {}
  const { instance_id, incarnation } = known
  const named = typeof instance_id === 'string' && typeof incarnation === 'string'
  return {
    protocol,
    pid: isCount(pid) ? pid : 0,
    hooks: { hand_over: hand_over === true, take_back: take_back === true, identified: identified === true },
    identity: named ? { instance_id, incarnation } : null,
  }
}

export function identifyAnswer({
  instance_id,
  incarnation,
  application,
  warnings,
}: Fields): IdentifyAnswer | null {
  if (typeof instance_id !== 'string' || typeof incarnation !== 'string' || !isHeard(application)) return null
  const told = warningsOf(warnings)
  return told && { instance_id, incarnation, application, warnings: told }
}

export function resizeAnswer({ cpus, memory_bytes, warnings }: Fields): ResizeAnswer | null {
  const told = warningsOf(warnings)
  return told && isCount(cpus) && isCount(memory_bytes) ? { cpus, memory_bytes, warnings: told } : null
}

export function limitsAnswer({ application, warnings }: Fields): LimitsAnswer | null {
  const told = warningsOf(warnings)
  return told && isHeard(application) ? { application, warnings: told } : null
}

export const takeBackAnswer = ({ bytes }: Fields): TakeBackAnswer | null =>
  isCount(bytes) ? { bytes } : null

/** As far as a line has room, without what would move a terminal's cursor or begin another line of a log. */
export function words(text: string): string {
  const clean = text
    .slice(0, wordsCharsMax)
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ')
    .toWellFormed()
    .trim()
  return text.length > wordsCharsMax ? `${clean} …` : clean
}

type Fields = Readonly<Record<string, unknown>>

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
const isHeard = (value: unknown): value is IdentifyAnswer['application'] =>
  value === 'acknowledged' || value === 'no_hook'

/** Null: they are none. */
function warningsOf(value: unknown): readonly string[] | null {
  if (!Array.isArray(value) || !value.every(warning => typeof warning === 'string')) return null
  const told = value.slice(0, warningsMax).map(words)
  return value.length > warningsMax ? [...told, `${value.length - warningsMax} more`] : told
}

async function readText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > guestLimits.jsonBodyBytesMax) throw new Error('its answer is too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
