/**
 * What must hold after every event, whatever goes wrong, checked where it could break first: at each write, each table, each
 * thing that is made, and each time that everything has come to rest.
 */
import { claimedNames } from '../../../lib/scaling/facts.ts'
import { standing } from '../../../lib/scaling/next.ts'
import { partOf, replacedBy } from '../../../lib/scaling/operation.ts'
import type { PoolItem } from '../../../lib/scaling/readiness/pool.ts'
import { recipeKind } from '../../../lib/scaling/recipes.ts'
import type { JournalEntry, OperationRecord, Write } from '../../../lib/store/store.ts'
import { noRoom } from '../../support/scaling-check.ts'
import type { Lab } from '../../support/scaling-lab.ts'

/** Longer than any step may keep a source paused, with its undo and a round of reconcile. */
const pausedMaxMs = 180_000

export class Invariants {
  readonly #lab: Lab
  readonly broken: string[] = []
  readonly #operations = new Map<string, OperationRecord>()
  readonly #journals = new Map<string, JournalEntry[]>()
  readonly #members = new Set<string>()
  readonly #verified = new Set<string>()
  /** Members when an operation began. */
  readonly #atBegin = new Map<string, number>()
  readonly #pausedSince = new Map<string, number>()
  /** What was announced as standing by, ever; and what does now. */
  readonly #announced = new Set<string>()
  #standing: ReadonlySet<string> = new Set()
  /** How many there have to be in the end, by what was asked for and came to its pivot; null: nothing was. */
  #wanted: number | null = null

  constructor(lab: Lab) {
    this.#lab = lab
    lab.watch = {
      onWrite: batch => this.#written(batch),
      onWell: (name, incarnation) => this.#verified.add(`${name} ${incarnation}`),
      onTable: table => {
        for (const { members } of table.clusters)
          for (const { id, incarnation } of members)
            this.#must(this.#verified.has(`${id} ${incarnation}`), `${id} serves and was never verified`)
      },
    }
    for (const node of lab.nodes)
      node.onMade = (name, owner) => {
        const claimed = claimedNames(this.#journals.get(owner.operation) ?? [])
        this.#must(
          claimed.includes(name) || this.#announced.has(name),
          `${name} was made, and no journal had said so`,
        )
      }
    lab.time.onRest = () => this.#atRest()
  }

  /** A process that starts anew has its own time to wake whoever was left paused. */
  restarted(): void {
    this.#pausedSince.clear()
  }

  #must(holds: boolean, what: string): void {
    if (!holds && !this.broken.includes(what)) this.broken.push(what)
  }

  #written(batch: readonly Write[]): void {
    const before = this.#members.size
    let by = ''
    for (const write of batch) {
      if ('delete' in write) {
        if (write.delete === 'instance') this.#members.delete(write.id)
      } else if (write.put === 'instance') this.#members.add(write.record.id)
      else if (write.put === 'operation') this.#begun(write.record)
      else if (write.put === 'value' && write.key.startsWith('pool:')) this.#pooled(write.value)
      else if (write.put === 'journal') {
        by = write.record.operation
        const journal = this.#journals.get(write.record.operation) ?? []
        this.#must(
          journal.length + 1 === write.record.seq,
          `${write.record.operation}: entry ${write.record.seq} out of order`,
        )
        journal.push(write.record)
        this.#came(write.record)
        this.#journals.set(write.record.operation, journal)
      }
    }
    const { minInstances, maxInstances } = this.#lab.config.scaling
    const replaces = Math.max(0, ...this.#open().map(replacedAtOnce))
    const now = this.#members.size
    if (now > before) this.#must(now <= maxInstances + replaces, `${now} members, at most ${maxInstances}`)
    // Who asks for a replacement below the minimum is not refused, and has no fewer afterwards.
    const least = Math.min(minInstances, this.#atBegin.get(by) ?? 0)
    // Whoever died meanwhile is nobody's doing.
    if (by === '' && now < before)
      for (const [id, members] of this.#atBegin) this.#atBegin.set(id, members - (before - now))
    if (by !== '' && now < before) this.#must(now >= least, `${now} members, at least ${least}`)
  }

  #pooled(value: unknown): void {
    const { items } = value as { readonly items: readonly PoolItem[] }
    for (const { name, snapshot } of items) this.#announced.add(name).add(snapshot)
    this.#standing = new Set(items.map(({ name }) => name))
  }

  /** Whoever asks for more or fewer has them from the pivot on; what reconcile does for itself changes nothing of that. */
  #came({ operation, step, kind }: JournalEntry): void {
    const record = this.#operations.get(operation)
    if (kind !== 'done' || !record || record.actor === 'reconcile') return
    const pivot = { scale_out: 'register', scale_in: 'deregister' }[record.type as string]
    if (pivot !== step) return
    this.#wanted = (record.request as { readonly target_count: number }).target_count
  }

  /** In the end: whoever died was made again. */
  ended(): void {
    const { minInstances, maxInstances } = this.#lab.config.scaling
    const wanted = Math.max(minInstances, Math.min(this.#wanted ?? 0, maxInstances))
    const now = this.#members.size
    const enough = now === wanted || (now < wanted && noRoom(this.#lab))
    this.#must(enough, `${now} members in the end, and ${wanted} were asked for`)
  }

  /** The kinds of operations that there were. */
  get kinds(): readonly string[] {
    return [...new Set([...this.#operations.values()].map(recipeKind))]
  }

  #begun(record: OperationRecord): void {
    const fresh = !this.#operations.has(record.id)
    this.#operations.set(record.id, record)
    if (!fresh) return
    this.#atBegin.set(record.id, this.#members.size)
    // A part begins within its whole; and a repair between two parts.
    const beside = partOf(record.request)?.operation
    const under = this.#open().filter(
      ({ id, type }) =>
        id !== record.id &&
        !standing(this.#journals.get(id) ?? []) &&
        !(type === 'rolling_replace' && (id === beside || record.actor === 'reconcile')),
    )
    this.#must(under.length === 0, `${record.id} begins while ${under.map(({ id }) => id)} is under way`)
  }

  #open(): readonly OperationRecord[] {
    return [...this.#operations.values()].filter(({ outcome }) => outcome === null)
  }

  #atRest(): void {
    const { now } = this.#lab.time
    for (const node of this.#lab.nodes)
      for (const { name, state } of node.instances.values()) {
        if (state !== 'paused' || this.#standing.has(name)) {
          this.#pausedSince.delete(name)
          continue
        }
        const since = this.#pausedSince.get(name) ?? now
        this.#pausedSince.set(name, since)
        if (this.#lab.alive) this.#must(now - since <= pausedMaxMs, `${name} is paused for too long`)
      }
  }
}

/** How many instances a replacement has in addition, for its time. */
function replacedAtOnce({ type, request }: OperationRecord): number {
  if (type === 'replace') return replacedBy(request as { readonly instance_id: string }).length
  return 0
}
