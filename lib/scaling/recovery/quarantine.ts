/**
 * What in the store cannot be believed, and is therefore neither run, undone, used nor cleared away.
 *
 *   unfinished operation ── its record and journal are sound ──► runner
 *          │ a newer version wrote it, it was damaged, or it says what cannot have happened
 *          ▼
 *     quarantined: shown as `stuck`, holds no cluster ── acknowledged ──► failed, as it stands
 *
 * As long as something is here that may name instances or snapshots, the collector of orphans leaves alone whatever it may name: of a
 * damaged journal, the things of its cluster; of a damaged record, everything.
 */
import type { Diagnosis, HeldInstance } from '../../hypervisor/driver.ts'
import type { Flaw, InstanceRecord, JournalEntry, OperationRecord, Write } from '../../store/store.ts'
import { type OperationView, operationView } from '../operation.ts'
import { knownRecipe } from '../recipes.ts'
import { shapeOf } from '../runner.ts'
import { commit, type World } from '../world.ts'
import { judge, toldUntil } from './soundness.ts'

/** Records that name nothing that a hypervisor holds. */
const harmless: readonly Flaw['of'][] = ['backend', 'mark']

/** What must not be collected now. */
export interface HeldBack {
  /** Why nothing at all may be; null: only the things of `clusters` may not. */
  readonly all: string | null
  /** By cluster: why. */
  readonly clusters: ReadonlyMap<string, string>
}

interface Damaged {
  readonly record: OperationRecord
  readonly why: string
}

export class Quarantine {
  readonly #world: World
  readonly #rows = new Map<string, Damaged>()
  /** Flaws that were told. */
  readonly #told = new Set<string>()

  #flaws: number | null = null

  constructor(world: World) {
    this.#world = world
  }

  has(id: string): boolean {
    return this.#rows.has(id)
  }

  of(cluster: string): readonly string[] {
    return [...this.#rows.values()]
      .map(row => row.record)
      .flatMap(row => (row.cluster === cluster ? row.id : []))
  }

  /** Keeps it if it cannot be believed; false: it can. */
  take(record: OperationRecord, journal: readonly JournalEntry[]): boolean {
    const { why } = judgeStored(this.#world, record, journal)
    if (why === null) return false
    const { events, log } = this.#world
    this.#rows.set(record.id, { record, why })
    const { message } = damagedFault(record, why)
    log.error({ operation: record.id, cluster: record.cluster }, message)
    events.publish({ type: 'operation_stuck', cluster: record.cluster, operation_id: record.id, message })
    return true
  }

  /** Ends it as it stands; null: it is not here. */
  async acknowledge(id: string, actor: string, lines: readonly Write[]): Promise<OperationView | null> {
    const row = this.#rows.get(id)
    if (!row) return null
    const { clock, events, store } = this.#world
    const { flaw: _, ...record } = row.record
    const ended: OperationRecord = { ...record, endedAtMs: clock.now(), outcome: 'failed' }
    const reason = `${record.type} ${id} was ended as it stood by ${actor}: ${row.why}`
    const line: Write = {
      put: 'history',
      record: {
        ...{ cluster: record.cluster, atMs: clock.now(), actor, from: null, to: null, reason },
        ...{ action: record.type, operation: id, outcome: 'failed' },
      },
    }
    await commit(this.#world, [...lines, { put: 'operation', record: ended }, line])
    this.#rows.delete(id)
    const { code, message } = damagedFault(record, row.why)
    events.publish({
      ...{ type: 'operation_ended', cluster: record.cluster, operation_id: id, outcome: 'failed' },
      error: { code, message },
    })
    return this.view(ended, await store.journal(id))
  }

  /**
   * An operation as it is stored. Of one that ended, the entries that cannot be read are left out. `parts`: operations among which are
   * those that it consists of.
   */
  view(
    record: OperationRecord,
    journal: readonly JournalEntry[],
    parts: readonly OperationRecord[] = [],
  ): OperationView {
    const row = this.#rows.get(record.id)
    const { sound } = toldUntil(journal)
    if (row) return flawedView(row, sound)
    return record.flaw === undefined
      ? operationView(record, sound, parts)
      : flawedView({ record, why: record.flaw }, sound)
  }

  /** How many there were when they were last looked for; null: not yet. */
  get flaws(): number | null {
    return this.#flaws
  }

  /** What `doctor` says of what cannot be read. */
  async diagnoses(): Promise<readonly Diagnosis[]> {
    const advice = { name: 'store', ok: false, advice: true, code: 'operation_damaged' } as const
    const flaws = (await this.#world.store.flaws()).map(flaw => ({
      ...{ ...advice, detail: inWords(flaw), fix: remedyOf(flaw) },
    }))
    const rows = [...this.#rows.values()].map(({ record, why }) => ({
      ...{ ...advice, detail: damagedFault(record, why).message },
      fix: `See tidegate operations ${record.id}.`,
    }))
    return [...rows, ...flaws]
  }

  async heldBack(): Promise<HeldBack> {
    const flaws = await this.#world.store.flaws()
    this.#flaws = flaws.length
    const grave = flaws.find(({ of }) => !harmless.includes(of))
    const clusters = new Map([...this.#rows.values()].map(({ record: { cluster, id } }) => [cluster, id]))
    return {
      all: grave ? inWords(grave) : null,
      clusters: new Map([...clusters].map(([cluster, id]) => [cluster, `operation ${id} cannot be read`])),
    }
  }

  /** What a damaged record of an instance said, put right by what its node holds; and the rest is told once. */
  async mend(held: readonly { readonly node: string; readonly instance: HeldInstance }[]): Promise<void> {
    for (const flaw of await this.#world.store.flaws()) {
      const mended = flaw.of === 'instance' && (await this.#mendInstance(flaw, held))
      const words = inWords(flaw)
      if (mended || this.#told.has(words)) continue
      this.#told.add(words)
      this.#world.log.error({ what: flaw.of, id: flaw.id }, `${words}; it is left alone. ${remedyOf(flaw)}`)
    }
  }

  /** Its name is enough: where it is, whose it is and what its address is its node knows better than any record. */
  async #mendInstance(
    { id, instance: left, why }: Flaw,
    held: readonly { readonly node: string; readonly instance: HeldInstance }[],
  ): Promise<boolean> {
    const { installation, clock } = this.#world
    const found = held.find(
      row => row.instance.name === id && row.instance.owner.installation === installation,
    )
    if (!found?.instance.address || found.instance.state === 'stopped' || !left) return false
    const { owner, address } = found.instance
    const createdAtMs = left.createdAtMs > 0 ? left.createdAtMs : found.instance.createdAtMs
    const record: InstanceRecord = {
      ...{ id, cluster: owner.cluster, node: found.node, incarnation: left.incarnation, address },
      ...{
        operation: owner.operation,
        origin: left.origin === 'created' ? 'created' : 'cloned',
        createdAtMs,
      },
    }
    const at = { atMs: clock.now(), actor: 'reconcile', from: null, to: null, action: 'mend' }
    const reason = `Mended the record of ${id} by what its node holds: ${why}`
    const line: Write = { put: 'history', record: { cluster: owner.cluster, ...at, reason, outcome: 'done' } }
    await commit(this.#world, [{ put: 'instance', record }, line])
    this.#world.log.warn({ instance: id }, reason)
    return true
  }
}

/** An operation as its record and journal show it, as far as they can be believed. */
function flawedView(row: Damaged, sound: readonly JournalEntry[]): OperationView {
  const { record, why } = row
  const open = { ...record, createdAtMs: timeOf(record.createdAtMs), endedAtMs: null, outcome: null }
  const error = damagedFault(record, why)
  return { ...operationView(open, sound), status: 'stuck', phase: 'stuck', error }
}

function judgeStored(world: World, record: OperationRecord, journal: readonly JournalEntry[]) {
  const recipe = knownRecipe(record)
  const member =
    record.outcome === null &&
    world.members.of(record.cluster).some(({ operation }) => operation === record.id)
  return judge(record, journal, recipe ? shapeOf(recipe) : null, member)
}

const timeOf = (ms: number) => (Number.isFinite(ms) && Math.abs(ms) < 8.64e15 ? ms : 0)

function damagedFault(record: OperationRecord, why: string) {
  return {
    code: 'operation_damaged',
    message: `${record.type} ${record.id} of cluster \`${record.cluster}\` cannot be read: ${why}. It is neither finished nor undone, and nothing that may be its own is removed. Traffic goes on`,
    details: {
      operation_id: record.id,
      why,
      remedies: [
        'If a newer Tidegate wrote it, start that one again: it finishes it.',
        'If the store was edited or damaged, stop Tidegate and put the store back from a copy.',
        `Otherwise see what its instances are worth (GET /api/v1/nodes), then end it as it stands: tidegate operations ${record.id} --acknowledge. What no cluster names is then destroyed as an orphan.`,
      ],
    },
  }
}

const inWords = ({ of, id, why }: Flaw): string =>
  `the ${of} record \`${id}\` in the store cannot be read: ${why}`

/** What a person can do about something in the store that cannot be read. */
export function remedyOf({ of, id }: Flaw): string {
  if (of === 'operation') return `See tidegate operations ${id}.`
  if (of === 'value' && id.startsWith('policy:')) return 'The policy of the file is in force; set it again.'
  if (of === 'mark') return 'Set the mark again, or take it back (tidegate ready).'
  if (of === 'backend') return 'Register the backend again.'
  return 'Put the store back from a copy, or stop Tidegate and delete the row from it. Until then nothing is collected as an orphan.'
}
