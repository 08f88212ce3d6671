/**
 * The audit trail: who asked for what, when, what came of it and why. Every mutation leaves a line here: what takes effect in the store
 * in one transaction with the effect, operations with their end (`scaling/summary`), what is removed from a node (a snapshot, an orphan)
 * before it is, because no transaction reaches there; and refusals that an operator would look for. A refusal that repeats itself (an autoscaler against
 * a full node) is written once a minute.
 */
import type { Clock } from '../clock.ts'
import type { Actor, Command } from '../command.ts'
import { type ErrorCode, toTidegateError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { HistoryRecord, Json, Store, Write } from '../store/store.ts'
import { askedIn } from './words.ts'

export interface AuditDeps {
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
}

/** What a line says beside who and when. */
export interface Act {
  readonly cluster: string | null
  readonly node?: string
  readonly backend?: string
  readonly operation?: string
  readonly action: string
  readonly from: Json
  readonly to: Json
  readonly reason: string
}

/** A slip of the pen, or nobody's business: these would drown what matters. */
const unremarkable: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  ...([
    'unknown_cluster',
    'unknown_backend',
    'unknown_instance',
    'unknown_operation',
    'unknown_node',
  ] as const),
  ...(['shutting_down', 'store_unavailable', 'internal'] as const),
])
const repeatAfterMs = 60_000
const rememberedMax = 1_000
const reasonMax = 2_000

export class Audit {
  readonly #deps: AuditDeps
  /** When a refusal was last written, by what it says. */
  readonly #refusedAt = new Map<string, number>()

  constructor(deps: AuditDeps) {
    this.#deps = deps
  }

  now(): number {
    return this.#deps.clock.now()
  }

  /** The line of an act, to be written in one batch with its effect. */
  line(actor: Actor, act: Act, outcome: HistoryRecord['outcome'] = 'done'): Write {
    const reason = act.reason.length > reasonMax ? `${act.reason.slice(0, reasonMax)}…` : act.reason
    return { put: 'history', record: { ...act, reason, actor, atMs: this.#deps.clock.now(), outcome } }
  }

  /** Runs `act`; when it is refused, that is in the trail too, and the refusal goes on to whoever asked. */
  async refusals<T>(command: Command, actor: Actor, act: () => Promise<T>): Promise<T> {
    try {
      return await act()
    } catch (error) {
      await this.#refused(command, actor, error)
      throw error
    }
  }

  async #refused(command: Command, actor: Actor, error: unknown): Promise<void> {
    const { code, message } = toTidegateError(error)
    if (unremarkable.has(code)) return
    const { words, ...act } = askedIn(command)
    const said = JSON.stringify([actor, act, code])
    const { clock, store, log } = this.#deps
    const last = this.#refusedAt.get(said)
    if (last !== undefined && clock.monotonic() - last < repeatAfterMs) return
    if (this.#refusedAt.size >= rememberedMax) this.#refusedAt.clear()
    this.#refusedAt.set(said, clock.monotonic())
    const reason = `Refused to ${words}: ${message} (${code})`
    try {
      await store.write([this.line(actor, { ...act, from: null, reason }, 'refused')])
    } catch (failure) {
      log.error(
        { err: failure, command: command.kind, code },
        'a refusal could not be written to the history',
      )
    }
  }
}
