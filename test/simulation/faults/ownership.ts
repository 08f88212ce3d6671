/**
 * Nothing that carries our tag is without somebody who answers for it: an unfinished journal, a membership, a table that no thread has let go of yet, a
 * pool, or the report of orphans. Between
 * the end of an operation and the next look at the nodes something may be left; whoever is left over two rounds of reconcile is in the report, or its
 * node could not be asked.
 */
import { type GoldenValue, goldenKey } from '../../../lib/scaling/facts.ts'
import { isGolden } from '../../../lib/scaling/names.ts'
import type { Lab } from '../../support/scaling-lab.ts'

export class Ownership {
  readonly #lab: Lab
  readonly #claimed: (name: string) => boolean
  /** Who was left at the end of the last round of this process. */
  #left: ReadonlySet<string> = new Set()
  /** Nodes that could not be asked since then. */
  readonly #unasked = new Set<string>()

  constructor(lab: Lab, claimed: (name: string) => boolean) {
    this.#lab = lab
    this.#claimed = claimed
  }

  /** A new process has looked at nothing. */
  restarted(): void {
    this.#left = new Set()
  }

  unasked(node: string): void {
    this.#unasked.add(node)
  }

  /** After a round of reconcile: who is left, and the report does not say so. */
  async reconciled(): Promise<readonly string[]> {
    const { scaling, nodes } = this.#lab
    const left = await this.#unclaimed()
    const told = await scaling.report.diagnoses()
    const said = new Set(told.map(({ name }) => name))
    const again = [...left].filter(name => this.#left.has(name) && !said.has(`orphan ${name}`))
    this.#left = left
    const silent = nodes.filter(({ id }) => said.has(`node ${id}`) || this.#unasked.has(id))
    this.#unasked.clear()
    const unasked = new Set(silent.flatMap(node => [...node.instances.keys(), ...node.snapshots.keys()]))
    return again
      .filter(name => !unasked.has(name))
      .map(name => `${name} is left, and neither a journal nor a member nor the report names it`)
  }

  async #unclaimed(): Promise<ReadonlySet<string>> {
    const { nodes, store, configs } = this.#lab
    const golden = await Promise.all(configs.map(({ id }) => store.value(goldenKey(id))))
    const kept = new Set(golden.flatMap(value => (value as GoldenValue | null)?.snapshot ?? []))
    const instances = nodes.flatMap(node => [...node.instances.values()])
    // A golden snapshot of former days is there as long as somebody's memory rests on it.
    for (const { snapshot } of instances) if (snapshot !== null && isGolden(snapshot)) kept.add(snapshot)
    for (const { id } of configs.flatMap(({ id }) => this.#lab.clusters.backends(id))) kept.add(id)
    const snapshots = nodes.flatMap(node => [...node.snapshots.keys()])
    const held = [...instances.map(({ name }) => name), ...snapshots]
    return new Set(held.filter(name => !kept.has(name) && !this.#claimed(name)))
  }
}
