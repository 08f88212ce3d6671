/**
 * What must hold after every event, whatever goes wrong, checked where it could break first: at each write, each table, each
 * thing that is made, each round of reconcile, and each time that everything has come to rest.
 */
import { claimedNames } from '../../../lib/scaling/facts.ts'
import type { PoolItem } from '../../../lib/scaling/readiness/pool.ts'
import type { JournalEntry, Write } from '../../../lib/store/store.ts'
import type { FakeInstance, FakeNode } from '../../support/fake-driver.ts'
import type { Lab } from '../../support/scaling-lab.ts'
import { ClusterRules } from './cluster-rules.ts'
import { Ownership } from './ownership.ts'
import { Pauses } from './pauses.ts'

export class Invariants {
  readonly #lab: Lab
  readonly broken: string[] = []
  readonly #rules: ReadonlyMap<string, ClusterRules>
  readonly #pauses: Pauses
  readonly #ownership: Ownership
  readonly #away: (node: string) => boolean
  readonly #journals = new Map<string, JournalEntry[]>()
  /** By operation. */
  readonly #clusters = new Map<string, string>()
  readonly #verified = new Set<string>()
  /** What was announced as standing by, ever; and what does now, by cluster. */
  readonly #announced = new Set<string>()
  readonly #standing = new Map<string, readonly PoolItem[]>()

  /** `away`: a node cannot be asked now. */
  constructor(lab: Lab, away: (node: string) => boolean) {
    this.#lab = lab
    this.#away = away
    const must = this.#must.bind(this)
    const journalOf = (operation: string) => this.#journals.get(operation) ?? []
    this.#rules = new Map(
      lab.configs.map(({ id }) => [id, new ClusterRules(lab, id, journalOf, must)] as const),
    )
    this.#pauses = new Pauses(lab)
    this.#ownership = new Ownership(lab, name => this.#claimed(name))
    lab.watch = {
      onWrite: batch => this.#written(batch),
      onWell: (name, incarnation) => this.#verified.add(`${name} ${incarnation}`),
      onTable: table => {
        for (const { members } of table.clusters)
          for (const { id, incarnation } of members)
            must(this.#verified.has(`${id} ${incarnation}`), `${id} serves and was never verified`)
      },
      onReconciled: async () => {
        for (const what of await this.#ownership.reconciled()) must(false, what)
      },
    }
    for (const node of lab.nodes)
      node.onMade = (name, owner) =>
        must(
          claimedNames(journalOf(owner.operation)).includes(name) || this.#announced.has(name),
          `${name} was made, and no journal had said so`,
        )
    lab.time.onRest = () => this.#atRest()
  }

  restarted(): void {
    this.#pauses.restarted()
    this.#ownership.restarted()
  }

  /** A node did not answer. */
  unasked(node: string): void {
    this.#ownership.unasked(node)
  }

  protect(cluster: string, id: string, on: boolean): void {
    this.#rules.get(cluster)!.protect(id, on)
  }

  ended(): void {
    for (const rules of this.#rules.values()) rules.ended()
  }

  /** The kinds of operations that there were. */
  get kinds(): readonly string[] {
    return [...new Set([...this.#rules.values()].flatMap(({ kinds }) => kinds))]
  }

  #must(holds: boolean, what: string): void {
    if (!holds && !this.broken.includes(what)) this.broken.push(what)
  }

  #written(batch: readonly Write[]): void {
    for (const write of batch) {
      if (!('put' in write)) continue
      if (write.put === 'value' && write.key.startsWith('pool:')) this.#pooled(write.key, write.value)
      if (write.put === 'operation') this.#clusters.set(write.record.id, write.record.cluster)
      if (write.put === 'journal') this.#journaled(write.record)
    }
    for (const [cluster, rules] of this.#rules) {
      const own = batch.filter(write => this.#clusterOf(write) === cluster)
      if (own.length > 0) rules.written(own)
    }
  }

  #journaled(entry: JournalEntry): void {
    const { operation, seq } = entry
    const journal = this.#journals.get(operation) ?? []
    this.#must(journal.length + 1 === seq, `${operation}: entry ${seq} out of order`)
    journal.push(entry)
    this.#journals.set(operation, journal)
    this.#pauses.came(journal)
  }

  #pooled(key: string, value: unknown): void {
    const { items } = value as { readonly items: readonly PoolItem[] }
    for (const { name, snapshot } of items) this.#announced.add(name).add(snapshot)
    const before = this.#standing.get(key) ?? []
    this.#pauses.pooled(items.filter(({ name }) => !before.some(one => one.name === name)))
    this.#standing.set(key, items)
  }

  /** Null: of none, or of what the rules do not look at. */
  #clusterOf(write: Write): string | null {
    if ('delete' in write) {
      if (write.delete !== 'instance') return null
      return [...this.#rules].find(([, rules]) => rules.has(write.id))?.[0] ?? null
    }
    if (write.put === 'journal') return this.#clusters.get(write.record.operation) ?? null
    return write.put === 'instance' || write.put === 'operation' ? write.record.cluster : null
  }

  #isMember(name: string): boolean {
    return [...this.#rules.values()].some(rules => rules.has(name))
  }

  /** Somebody who is at work or serves answers for it. */
  #claimed(name: string): boolean {
    if (this.#isMember(name) || this.#standsBy(name)) return true
    const open = [...this.#rules.values()].flatMap(rules => rules.open)
    return open.some(({ id }) => claimedNames(this.#journals.get(id) ?? []).includes(name))
  }

  #standsBy(name: string): boolean {
    for (const items of this.#standing.values())
      for (const item of items)
        if (item.name === name || (item.snapshot === name && item.state === 'making')) return true
    return false
  }

  #atRest(): void {
    const lab = this.#lab
    for (const node of lab.nodes) {
      const paused: string[] = []
      for (const one of node.instances.values())
        if (one.state === 'paused' && !this.#standsBy(one.name)) paused.push(one.name)
      if (paused.length > 0 && lab.alive) {
        const late = this.#pauses.late(node.id, paused, this.#away(node.id))
        this.#must(late === null, late ?? '')
      }
      this.#fits(node)
    }
    if (lab.alive) this.#served()
  }

  /** Those whom the table names are themselves, or dead. */
  #served(): void {
    const running = new Map<number, FakeInstance>()
    for (const { instances } of this.#lab.nodes)
      for (const one of instances.values()) if (one.address) running.set(one.address.port, one)
    for (const { members } of this.#lab.clusters.table().clusters)
      for (const { id, port, incarnation } of members) {
        const one = running.get(port)
        if (one && one.state !== 'stopped')
          this.#must(one.identity?.incarnation === incarnation, `${id} is served by somebody else`)
      }
  }

  /** What was admitted fits; a request that comes a second time when nobody waits for it was not. */
  #fits(node: FakeNode): void {
    const cpusMax = this.#lab.nodeConfigs.find(({ id }) => id === node.id)!.capacity.cpus
    const each = this.#lab.config.instance!.resources.cpus
    const size = (one: FakeInstance) => (one.state === 'stopped' ? 0 : (one.resources?.cpus ?? each))
    const sum = (instances: Iterable<FakeInstance>) => {
      let cpus = 0
      for (const one of instances) cpus += size(one)
      return cpus
    }
    if (sum(node.instances.values()) <= cpusMax) return
    const cpus = sum([...node.instances.values()].filter(({ name }) => this.#claimed(name)))
    this.#must(cpus <= cpusMax, `${node.id} carries ${cpus} CPUs and has ${cpusMax}`)
  }
}
