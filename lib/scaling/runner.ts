/**
 * The runner: takes one operation from wherever its journal says it is to its end.
 *
 *   next(journal) ──► append `started` ──► step.run ──► append outcome (with membership, if it changed) ──► publish ──┐
 *        ▲                                                                                                             │
 *        └─────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
 *
 * It decides nothing by itself: what comes next is `next`'s word. It knows deadlines, cancelling and stopping.
 */
import { TidegateError, toTidegateError } from '../errors.ts'
import type { JournalEntry, Json, OperationRecord, Write } from '../store/store.ts'
import { within } from './deadline.ts'
import { closedBy, intentOf } from './facts.ts'
import { stuckFault } from './failure.ts'
import { Journal } from './journal.ts'
import { backoffMs, limits } from './limits.ts'
import { type Decision, next, type RecipeShape, standing, turnedBack } from './next.ts'
import { anotherTry, pauseMs } from './patience.ts'
import { cancelStep, recoverStep, restoreStep, stuckStep } from './phase.ts'
import { differencesAfter, mendDifferences } from './restore.ts'
import { sizesLeft } from './sizing/resizing.ts'
import { type Recipe, type Step, StepContext } from './step.ts'
import type { World } from './world.ts'

export class Run {
  readonly #world: World
  readonly #recipe: Recipe
  readonly #shape: RecipeShape
  readonly #journal: Journal
  readonly #cancelling = new AbortController()
  readonly #stopping = new AbortController()
  /** What each step has used of its deadline: its tries before the pivot share one. */
  readonly #spentMs = new Map<string, number>()
  /** The step that `begin` has journaled as started, until it is run. */
  #begun: string | null = null

  constructor(world: World, recipe: Recipe, record: OperationRecord, entries: readonly JournalEntry[]) {
    this.#world = world
    this.#recipe = recipe
    this.#shape = shapeOf(recipe)
    this.#journal = new Journal(world, this.#shape, record, entries)
    if (entries.some(entry => entry.kind === 'cancel_requested')) this.#cancelling.abort(cancelled())
  }

  get record(): OperationRecord {
    return this.#journal.record
  }

  get entries(): readonly JournalEntry[] {
    return this.#journal.entries
  }

  /** Puts a new operation into the store, and with it that its first step begins. Throws `store_unavailable`, with nothing begun. */
  async begin(): Promise<void> {
    const [step] = this.#recipe.steps
    await this.#journal.begin(step!.name, step!.intend?.(this.#context()) ?? {})
    this.#begun = step!.name
  }

  /**
   * Goes on until the operation ends, stands still or `stop` is called. Throws `store_unavailable` when the journal cannot be written:
   * the operation then stands where it is until somebody reads its journal again.
   */
  async drive(): Promise<void> {
    try {
      while (this.record.endedAtMs === null && !this.stuck && !this.#stopping.signal.aborted)
        await this.#advance()
    } finally {
      if (this.record.endedAtMs !== null) this.#release()
    }
  }

  /** It stands still until `resume` or `acknowledge`. */
  get stuck(): boolean {
    return this.record.endedAtMs === null && standing(this.entries)
  }

  /** Goes on with what was given up on; `drive` does it. Throws `operation_not_stuck`. */
  async resume(why: string): Promise<void> {
    await this.#journal.append(stuckStep, 'resumed', { why })
  }

  /** Ends it as it stands: what is left is nobody's from now on, and who has another size keeps it. Throws `operation_not_stuck`. */
  async acknowledge(actor: string, lines: readonly Write[]): Promise<void> {
    const sizes = this.#journal.pivoted ? [] : sizesLeft(this.#world, this.entries)
    await this.#journal.append(stuckStep, 'acknowledged', { actor }, [...lines, ...sizes])
    this.#release()
  }

  /** After a restart: before the pivot an operation that was under way is undone, and its journal says why. */
  async noteRestart(): Promise<void> {
    if (this.#recipe.goesOn || this.#journal.pivoted || turnedBack(this.#shape, this.entries)) return
    const message = 'Tidegate stopped while this operation was under way; what it had made was undone'
    await this.#journal.append(recoverStep, 'failed', { code: 'operation_interrupted', message, details: {} })
  }

  /** Throws `operation_not_cancellable` after the pivot. Asking twice is harmless. `why` is what its error will say. */
  async cancel(why: Json = {}, lines: readonly Write[] = []): Promise<void> {
    if (this.entries.some(entry => entry.kind === 'cancel_requested')) {
      if (lines.length > 0) await this.#world.store.write(lines)
      return
    }
    await this.#journal.append(cancelStep, 'cancel_requested', why, lines)
    this.#cancelling.abort(cancelled())
  }

  /** Ends `drive` soon, between steps or by breaking one off; nothing is journaled for a step that was broken off. */
  stop(): void {
    this.#stopping.abort(new TidegateError('shutting_down', 'Tidegate is stopping'))
  }

  async #advance(): Promise<void> {
    const decision = next(this.#shape, this.entries)
    if (decision.act === 'end') return this.#journal.finish(decision.outcome)
    if (decision.act === 'stand')
      return this.#journal.append(stuckStep, 'stuck', stuckFault(this.record, this.entries, decision.steps))
    const step = this.#recipe.steps.find(step => step.name === decision.step)
    // Who cancels does not wait for the end of the pause; then it is decided anew.
    const ahead = decision.act === 'run' && !this.#journal.pivoted
    const signals = [this.#stopping.signal, ...(ahead ? [this.#cancelling.signal] : [])]
    const ms = ahead ? pauseMs(decision.step, decision.attempt) : backoffMs(decision.attempt)
    if (ms > 0)
      try {
        await this.#world.clock.sleep(ms, AbortSignal.any(signals))
      } catch {
        return
      }
    if (decision.act === 'restore') return this.#restore()
    if (decision.act === 'run') return this.#run(step!, decision)
    return this.#revert(step!)
  }

  async #run(step: Step, { attempt }: Extract<Decision, { attempt: number }>): Promise<void> {
    const { clock, log } = this.#world
    const signals = [this.#stopping.signal]
    if (!this.#journal.pivoted) signals.push(this.#cancelling.signal)
    const beganMs = clock.monotonic()
    try {
      const intent = await this.#intended(step)
      const result = await within(clock, this.#leftMs(step), `step ${step.name}`, signals, signal =>
        step.run(this.#context(), intent, signal),
      )
      await this.#journal.append(step.name, 'done', result.data, result.writes)
      await this.#publish(step, result.publish)
    } catch (error) {
      if (this.#stopping.signal.aborted) return
      const fault = faultOf(error)
      if (fault.code === 'store_unavailable') throw error
      log.warn({ operation: this.record.id, step: step.name, err: error }, 'step failed')
      const spentMs = clock.monotonic() - beganMs
      this.#spentMs.set(step.name, (this.#spentMs.get(step.name) ?? 0) + spentMs)
      await this.#journal.append(step.name, 'failed', { ...fault, ...this.#again(step, attempt, fault.code) })
    }
  }

  /** What the step is about to make, in the journal from now on. */
  async #intended(step: Step): Promise<Json> {
    const begun = this.#begun === step.name
    this.#begun = null
    if (begun) return intentOf<Json>(this.entries, step.name)
    const intent = step.intend?.(this.#context()) ?? {}
    await this.#journal.append(step.name, 'started', intent)
    return intent
  }

  /** Whether another attempt follows, for the journal: whoever reads it later does not judge anew. */
  #again(step: Step, attempt: number, code: string): { readonly again?: true } {
    const another = this.#journal.pivoted
      ? attempt < limits.attemptsMax
      : !step.once &&
        !this.#cancelling.signal.aborted &&
        anotherTry(step.name, code, this.entries, this.#leftMs(step))
    return another ? { again: true } : {}
  }

  /** Compares with the picture of before. What is of our own making is not undone yet; the rest is told. */
  async #restore(): Promise<void> {
    const { clock, log } = this.#world
    try {
      await this.#journal.append(restoreStep, 'reverting', {})
      const compare = async () => {
        const found = await differencesAfter(this.#world, this.record, this.entries)
        if (!found.some(difference => difference.ours)) return found
        await mendDifferences(this.#world, this.record.cluster, found)
        return differencesAfter(this.#world, this.record, this.entries)
      }
      const differences = await within(clock, limits.revertMs, 'comparing', [this.#stopping.signal], compare)
      const mine = differences.filter(difference => difference.ours)
      if (mine.length > 0)
        throw new TidegateError('operation_failed', 'not everything that it did is undone', {
          details: { differences },
        })
      await this.#journal.append(restoreStep, 'reverted', { differences })
    } catch (error) {
      if (this.#stopping.signal.aborted) return
      const fault = faultOf(error)
      if (fault.code === 'store_unavailable') throw error
      log.error({ operation: this.record.id, err: error }, 'the undo is not complete')
      await this.#journal.append(restoreStep, 'revert_failed', fault)
    }
  }

  /** The journal has the new membership already; a publish that fails is repeated by the next step. */
  async #publish(step: Step, publish: (() => Promise<unknown>) | undefined): Promise<void> {
    if (!publish) return
    const { clock, log } = this.#world
    try {
      await within(clock, limits.goneMs, 'publishing the generation', [this.#stopping.signal], publish)
    } catch (error) {
      log.error({ operation: this.record.id, step: step.name, err: error }, 'membership was not published')
    }
  }

  async #revert(step: Step): Promise<void> {
    const { clock, log } = this.#world
    const signals = [this.#stopping.signal]
    const intent = intentOf<Json>(this.entries, step.name)
    try {
      await this.#journal.append(step.name, 'reverting', {})
      const work = async (signal: AbortSignal) => (await step.revert?.(this.#context(), intent, signal)) ?? []
      const ms = step.revertMs?.(this.#context()) ?? limits.revertMs
      const writes = await within(clock, ms, `undoing ${step.name}`, signals, work)
      await this.#journal.append(step.name, 'reverted', {}, writes)
    } catch (error) {
      if (this.#stopping.signal.aborted) return
      const fault = faultOf(error)
      if (fault.code === 'store_unavailable') throw error
      log.error({ operation: this.record.id, step: step.name, err: error }, 'undo failed')
      await this.#journal.append(step.name, 'revert_failed', fault)
    }
  }

  /** Whatever an operation took out of new traffic and did not remove comes back when it ends. */
  #release(): void {
    const { clusters, promises } = this.#world
    const { id, cluster } = this.record
    promises.drop(id)
    for (const name of closedBy(this.entries))
      if (clusters.has(cluster, name)) clusters.unfence(cluster, name)
  }

  #context(): StepContext {
    return new StepContext(this.#world, this.record, this.entries)
  }

  /** Of the step's deadline. */
  #leftMs(step: Step): number {
    const ms = step.timeoutMs(this.#context())
    return this.#journal.pivoted ? ms : Math.max(0, ms - (this.#spentMs.get(step.name) ?? 0))
  }
}

export function shapeOf(recipe: Recipe): RecipeShape {
  return {
    steps: recipe.steps.map(({ name, revert, final = false }) => ({
      name,
      undoable: revert !== undefined,
      final,
    })),
    pivot: recipe.pivot,
  }
}

const cancelled = () => new TidegateError('operation_cancelled', 'cancelled on request')

function faultOf(error: unknown): {
  readonly code: string
  readonly message: string
  readonly details: Json
} {
  const known = toTidegateError(error, 'operation_failed')
  return {
    code: known.code,
    message: known.message,
    details: JSON.parse(JSON.stringify(known.details)) as Json,
  }
}
