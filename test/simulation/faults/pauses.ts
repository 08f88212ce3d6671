/**
 * How long a source may be paused. Whoever saves it has a deadline, which begins when its step does or when it is announced; then it has a moment
 * to stop, and its undo another. Where the undo fails the next round of reconcile wakes it, and a process that starts anew wakes it before anything else.
 * A node that cannot be asked cannot be told to go on either: that time does not count.
 */
import { doneData, intentOf, type MadeData, type PrepareIntent } from '../../../lib/scaling/facts.ts'
import { limits } from '../../../lib/scaling/limits.ts'
import type { PoolItem } from '../../../lib/scaling/readiness/pool.ts'
import { saveMs } from '../../../lib/scaling/readiness/save-live.ts'
import type { JournalEntry } from '../../../lib/store/store.ts'
import { clusterConfig, type Lab, roundMs } from '../../support/scaling-lab.ts'

/** After a deadline: until it has stopped, and what it undoes. */
const undoMs = limits.settleMs + limits.revertMs
const rehearsalsMs = limits.rehearsalsBeforeSave * clusterConfig().health.timeoutMs
/** Until a round has begun, has asked all nodes and told everybody to go on. */
const wakeMs = roundMs + 2 * limits.inspectMs + undoMs

export class Pauses {
  readonly #lab: Lab
  /** By who is saved: until when it has to run again. */
  readonly #dueMs = new Map<string, number>()

  constructor(lab: Lab) {
    this.#lab = lab
  }

  /** A process that starts anew has its own time for whoever was left paused. */
  restarted(): void {
    this.#later([...this.#dueMs.keys()])
  }

  /** `journal` ends with what has just been written. */
  came(journal: readonly JournalEntry[]): void {
    const { step, kind } = journal.at(-1)!
    if (step === 'prepare' && kind === 'started') this.#saving(saved(journal), 0)
    // Nobody else than reconcile will wake them.
    if (step === 'prepare' && kind === 'revert_failed') this.#later(saved(journal))
    // It is saved before it serves, when it has been asked a few times.
    if (step === 'keep_golden' && kind === 'started') this.#saving(firstMade(journal), rehearsalsMs)
  }

  /** Clones that stand by are made by nobody's operation. */
  pooled(items: readonly PoolItem[]): void {
    for (const { of, state } of items) if (of !== undefined && state === 'making') this.#saving([of], 0)
  }

  /** `away`: the node cannot be asked. Null: all is as it may be; else who is late. */
  late(node: string, paused: readonly string[], away: boolean): string | null {
    const { now } = this.#lab.time
    for (const name of paused) {
      const due = this.#dueMs.get(name)
      if (due === undefined) return `${name} on ${node} is paused, and nobody had said so`
      if (away) this.#dueMs.set(name, Math.max(due, now + wakeMs))
      else if (now > due) return `${name} on ${node} is paused past its deadline`
    }
    return null
  }

  #later(names: readonly string[]): void {
    for (const name of names) this.#dueMs.set(name, this.#lab.time.now + wakeMs)
  }

  #saving(sources: readonly string[], beforeMs: number): void {
    const { now } = this.#lab.time
    const allowedMs = sources.reduce((sum, source) => sum + saveMs(this.#memoryOf(source)), beforeMs)
    for (const source of sources) this.#dueMs.set(source, now + allowedMs + undoMs)
  }

  #memoryOf(name: string): number {
    const found = this.#lab.nodes.map(node => node.instances.get(name)).find(one => one !== undefined)
    return found?.resources?.memoryBytes ?? clusterConfig().instance!.resources.memoryBytes
  }
}

/** Whom a `prepare` saves. */
const saved = (journal: readonly JournalEntry[]): readonly string[] =>
  intentOf<PrepareIntent>(journal, 'prepare')!.snapshots.map(({ source }) => source)

/** Nobody, where those who are there grew and that was enough. */
const firstMade = (journal: readonly JournalEntry[]): readonly string[] =>
  doneData<MadeData>(journal, 'clone')
    .instances.slice(0, 1)
    .map(({ name }) => name)
