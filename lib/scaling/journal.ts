/**
 * The journal of one operation under way: the only writer of its entries. Entries go in one at a time; the one after which
 * nothing is left to do carries the operation's end in the same batch. Every entry becomes an event.
 */
import { TidegateError, toTidegateError } from '../errors.ts'
import type { JournalEntry, Json, OperationRecord, Write } from '../store/store.ts'
import { errorOf } from './failure.ts'
import { backoffMs } from './limits.ts'
import { differencesOf, next, type Outcome, pivoted, type RecipeShape, standing } from './next.ts'
import { illegalTransition, phaseOf, restoreStep } from './phase.ts'
import { outOfOrder } from './recovery/soundness.ts'
import { summaryOf } from './summary.ts'
import { remember, type World } from './world.ts'

const writeAttemptsMax = 3

export class Journal {
  readonly #world: World
  readonly #shape: RecipeShape
  #record: OperationRecord
  #entries: readonly JournalEntry[]
  #turn: Promise<unknown> = Promise.resolve()

  constructor(world: World, shape: RecipeShape, record: OperationRecord, entries: readonly JournalEntry[]) {
    this.#world = world
    this.#shape = shape
    this.#record = record
    this.#entries = entries
  }

  get record(): OperationRecord {
    return this.#record
  }

  get entries(): readonly JournalEntry[] {
    return this.#entries
  }

  get pivoted(): boolean {
    return pivoted(this.#shape, this.#entries)
  }

  /** The operation and its first entry, in one transaction: it is there with its first step begun, or it is not. Tried once. */
  begin(step: string, intent: Json): Promise<void> {
    return this.#inTurn(async () => {
      const entry = this.#entry(step, 'started', intent)
      const { store, events, tally } = this.#world
      await store.write([
        { put: 'operation', record: this.#record },
        { put: 'journal', record: entry },
      ])
      this.#entries = [entry]
      tally.written(this.#record, this.#entries)
      const { id, cluster, type, request } = this.#record
      const { target_count: target = null } = request as { readonly target_count?: number }
      events.publish({ type: 'operation_started', cluster, operation_id: id, operation: type, target })
      this.#tell(entry)
    })
  }

  /**
   * Appends one entry, with `writes` in the same transaction. The pivot is refused (`operation_cancelled`) when somebody
   * asked to cancel before it, and a request to cancel is refused (`operation_not_cancellable`) after it: whichever is
   * written first wins. What those before it did not lead to is refused (`internal`), and what would lead from a phase to one that may
   * not follow it. Throws `store_unavailable` when the store does not take it.
   */
  append(step: string, kind: JournalEntry['kind'], data: Json, writes: readonly Write[] = []): Promise<void> {
    return this.#inTurn(async () => {
      this.#check(step, kind)
      this.#checkOrder({ step, kind, data })
      const entry = this.#entry(step, kind, data)
      const entries = [...this.#entries, entry]
      const decision = next(this.#shape, entries)
      const ended = decision.act === 'end' ? this.#ended(decision.outcome) : null
      this.#checkPhase(entries, ended)
      const batch: Write[] = [...writes, { put: 'journal', record: entry }]
      if (ended) batch.push({ put: 'operation', record: ended }, ...summaryOf(ended, entries))
      await this.#write(batch, entry.seq)
      this.#entries = entries
      remember(this.#world, writes)
      this.#world.tally.written(this.#record, entries)
      this.#tell(entry)
      if (ended) this.#end(ended)
    })
  }

  /** Writes the end by itself: for a journal that was already complete when it was read. */
  finish(outcome: Outcome): Promise<void> {
    return this.#inTurn(async () => {
      const ended = this.#ended(outcome)
      this.#checkPhase(this.#entries, ended)
      await this.#world.store.write([{ put: 'operation', record: ended }])
      this.#end(ended)
    })
  }

  #entry(step: string, kind: JournalEntry['kind'], data: Json): JournalEntry {
    const seq = (this.#entries.at(-1)?.seq ?? 0) + 1
    return { operation: this.#record.id, seq, step, kind, data, atMs: this.#world.clock.now() }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(work, work)
    this.#turn = mine.catch(() => {})
    return mine
  }

  #check(step: string, kind: JournalEntry['kind']): void {
    if (kind === 'acknowledged' || kind === 'resumed') return this.#checkStanding()
    const cancelled = this.#entries.some(entry => entry.kind === 'cancel_requested')
    if (kind === 'done' && step === this.#shape.pivot && cancelled)
      throw new TidegateError('operation_cancelled', 'cancelled on request')
    if (kind !== 'cancel_requested') return
    const { id, outcome } = this.#record
    if (outcome === null && !this.pivoted) return
    const why =
      outcome === null ? 'it is past its point of no return and will be finished' : `it is ${outcome}`
    throw new TidegateError(
      'operation_not_cancellable',
      `operation ${id} cannot be cancelled any more: ${why}`,
      {
        details: { operation_id: id },
      },
    )
  }

  /** Whoever reads it later would not believe it. Said twice of what may be said twice is harmless. */
  #checkOrder(entry: Pick<JournalEntry, 'step' | 'kind' | 'data'>): void {
    const { id, outcome } = this.#record
    const why = outcome === null ? outOfOrder(this.#shape, this.#entries, entry) : `it is ${outcome}`
    if (why === null) return
    throw new TidegateError('internal', `operation ${id} cannot go on like that: ${why}`, {
      details: { operation_id: id, step: entry.step, kind: entry.kind },
    })
  }

  /** No phase is followed by one that may not follow it. Who says the same again changes nothing. */
  #checkPhase(entries: readonly JournalEntry[], ended: OperationRecord | null): void {
    const wrong = illegalTransition(this.#record, this.#entries, entries, ended)
    if (wrong === null) return
    const { id } = this.#record
    const [from, to] = wrong
    throw new TidegateError('internal', `operation ${id} is ${from} and cannot be ${to} next`, {
      details: { operation_id: id, from, to },
    })
  }

  #checkStanding(): void {
    if (this.#record.outcome === null && standing(this.#entries)) return
    const { id, outcome } = this.#record
    throw new TidegateError(
      'operation_not_stuck',
      `operation ${id} is not stuck: it ${outcome === null ? 'is running' : `has ended (${outcome})`}; nothing is to be acknowledged`,
      { details: { operation_id: id, status: outcome ?? 'running' } },
    )
  }

  #ended(outcome: Outcome): OperationRecord {
    return { ...this.#record, endedAtMs: this.#world.clock.now(), outcome }
  }

  async #write(batch: readonly Write[], seq: number): Promise<void> {
    const { store, clock } = this.#world
    for (let attempt = 1; ; attempt++) {
      try {
        return await store.write(batch)
      } catch (error) {
        if (toTidegateError(error).code !== 'store_unavailable' || attempt === writeAttemptsMax) throw error
        await clock.sleep(backoffMs(attempt + 1))
        // The batch may have gone in and only the answer been lost.
        const kept = await store.journal(this.#record.id).catch(() => [])
        if (kept.some(entry => entry.seq === seq)) return
      }
    }
  }

  #tell(entry: JournalEntry): void {
    const { id, cluster } = this.#record
    const fault = entry.data as { readonly message?: string } | null
    const failed = entry.kind === 'failed' || entry.kind === 'revert_failed'
    this.#world.events.publish({
      type: 'operation_step',
      cluster,
      operation_id: id,
      phase: phaseOf(this.#record, this.#entries),
      step: entry.step,
      status: entry.kind,
      detail: failed || entry.kind === 'stuck' ? (fault?.message ?? null) : null,
    })
    this.#alarm(entry)
  }

  /** What a person should hear of at once. */
  #alarm(entry: JournalEntry): void {
    const { id, cluster } = this.#record
    const { events, log } = this.#world
    if (entry.step === restoreStep && entry.kind !== 'reverting') {
      const differences = differencesOf(this.#entries)
      if (differences.length === 0) return
      log.error({ operation: id, cluster, differences }, 'not everything is as it was before the operation')
      events.publish({ type: 'rollback_differs', cluster, operation_id: id, differences })
    }
    if (entry.kind !== 'stuck') return
    const { message } = errorOf(this.#record, this.#entries) ?? { message: 'the operation is stuck' }
    log.error({ operation: id, cluster }, message)
    events.publish({ type: 'operation_stuck', cluster, operation_id: id, message })
  }

  #end(ended: OperationRecord): void {
    this.#record = ended
    this.#world.tally.ended(ended, this.#entries)
    const error = errorOf(ended, this.#entries)
    this.#world.events.publish({
      type: 'operation_ended',
      cluster: ended.cluster,
      operation_id: ended.id,
      outcome: ended.outcome ?? 'failed',
      error: error && { code: error.code, message: error.message },
    })
  }
}
