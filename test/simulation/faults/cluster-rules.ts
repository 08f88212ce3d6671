/** What must hold of one cluster at each write: how many members it has, who leaves, and what runs beside what. */
import { doneData, type PlanData } from '../../../lib/scaling/facts.ts'
import { standing } from '../../../lib/scaling/next.ts'
import { partOf, replacedBy } from '../../../lib/scaling/operation.ts'
import { recipeKind } from '../../../lib/scaling/recipes.ts'
import type { JournalEntry, OperationRecord, Write } from '../../../lib/store/store.ts'
import { noRoom } from '../../support/scaling-check.ts'
import type { Lab } from '../../support/scaling-lab.ts'

type Must = (holds: boolean, what: string) => void

export class ClusterRules {
  readonly #lab: Lab
  readonly #cluster: string
  readonly #must: Must
  readonly #journalOf: (operation: string) => readonly JournalEntry[]
  readonly #operations = new Map<string, OperationRecord>()
  readonly #members = new Set<string>()
  readonly #protected = new Set<string>()
  /** Members when an operation began. */
  readonly #atBegin = new Map<string, number>()
  /** How many there have to be in the end, by what was asked for and came to its pivot; null: nothing was. */
  #wanted: number | null = null

  constructor(
    lab: Lab,
    cluster: string,
    journalOf: (operation: string) => readonly JournalEntry[],
    must: Must,
  ) {
    this.#lab = lab
    this.#cluster = cluster
    this.#journalOf = journalOf
    this.#must = must
  }

  has(member: string): boolean {
    return this.#members.has(member)
  }

  /** The kinds of operations that there were. */
  get kinds(): readonly string[] {
    return [...this.#operations.values()].map(recipeKind)
  }

  get open(): readonly OperationRecord[] {
    return [...this.#operations.values()].filter(({ outcome }) => outcome === null)
  }

  /** Somebody asked for it, and was told that it is so. */
  protect(id: string, on: boolean): void {
    if (on) this.#protected.add(id)
    else this.#protected.delete(id)
  }

  /** Its own of a batch that the store has taken. */
  written(batch: readonly Write[]): void {
    const before = this.#members.size
    let by = ''
    const left: string[] = []
    for (const write of batch) {
      if ('delete' in write) {
        if (write.delete === 'instance' && this.#members.delete(write.id)) left.push(write.id)
      } else if (write.put === 'instance') this.#members.add(write.record.id)
      else if (write.put === 'operation') this.#begun(write.record)
      else if (write.put === 'journal') {
        by = write.record.operation
        this.#came(write.record)
      }
    }
    this.#mayLeave(left, by)
    this.#counts(before, by)
  }

  /** In the end: whoever died was made again. */
  ended(): void {
    const { minInstances, maxInstances } = this.#lab.config.scaling
    const wanted = Math.max(minInstances, Math.min(this.#wanted ?? 0, maxInstances))
    const now = this.#members.size
    const enough = now === wanted || (now < wanted && noRoom(this.#lab, this.#cluster))
    this.#must(enough, `${now} members of ${this.#cluster} in the end, and ${wanted} were asked for`)
  }

  /** Who is protected leaves by no scale-in; a replacement and its own death do not ask. */
  #mayLeave(left: readonly string[], by: string): void {
    for (const id of left) {
      const scaledIn = this.#operations.get(by)?.type === 'scale_in'
      this.#must(!(scaledIn && this.#protected.has(id)), `${id} was protected, and ${by} took it out`)
      this.#protected.delete(id)
    }
  }

  #counts(before: number, by: string): void {
    const { minInstances, maxInstances } = this.#lab.config.scaling
    const replaces = Math.max(0, ...this.open.map(replacedAtOnce))
    const now = this.#members.size
    if (now > before) this.#must(now <= maxInstances + replaces, `${now} members, at most ${maxInstances}`)
    // Who asks for a replacement below the minimum is not refused, and has no fewer afterwards.
    const least = Math.min(minInstances, this.#atBegin.get(by) ?? 0)
    // Whoever died meanwhile is nobody's doing.
    if (by === '' && now < before)
      for (const [id, members] of this.#atBegin) this.#atBegin.set(id, members - (before - now))
    if (by !== '' && now < before) this.#must(now >= least, `${now} members, at least ${least}`)
  }

  /** Whoever asks for more or fewer has them from the pivot on; what reconcile does for itself changes nothing of that. */
  #came({ operation, step, kind }: JournalEntry): void {
    const record = this.#operations.get(operation)
    if (kind !== 'done' || !record || record.actor === 'reconcile') return
    const pivot = { scale_out: 'register', scale_in: 'deregister' }[record.type as string]
    if (pivot !== step) return
    const { target_count: count } = record.request as { readonly target_count?: number }
    // Who asks for CPUs says nothing of how many; those who are made for it are wanted.
    this.#wanted =
      count ?? Math.max(this.#wanted ?? 0, doneData<PlanData>(this.#journalOf(operation), 'plan').to)
  }

  #begun(record: OperationRecord): void {
    const fresh = !this.#operations.has(record.id)
    this.#operations.set(record.id, record)
    if (!fresh) return
    this.#atBegin.set(record.id, this.#members.size)
    // A part begins within its whole; and a repair, or what empties a node, between two parts.
    const beside = partOf(record.request)?.operation
    const under = this.open.filter(
      ({ id, type }) =>
        id !== record.id &&
        !standing(this.#journalOf(id)) &&
        !(type === 'rolling_replace' && (id === beside || record.actor === 'reconcile')),
    )
    this.#must(under.length === 0, `${record.id} begins while ${under.map(({ id }) => id)} is under way`)
  }
}

/** How many instances a replacement has in addition, for its time. */
function replacedAtOnce({ type, request }: OperationRecord): number {
  if (type === 'replace') return replacedBy(request as { readonly instance_id: string }).length
  return 0
}
