/** What clusters have before anybody asks for it, or not even that: golden snapshots, warm pools, scale to zero. The door to these. */

import type { World } from '../world.ts'
import { Demand, type DemandDeps } from './demand.ts'
import { type ReadyView, readyView, type WarmCounts, warmCounts } from './ready.ts'
import { Standby } from './standby.ts'

export interface Hands extends Pick<DemandDeps, 'start' | 'running' | 'cancel' | 'ended'> {
  /** An operation is under way in the cluster, or just beginning. */
  readonly busy: (cluster: string) => boolean
  /** Looks at the nodes now. */
  readonly look: () => Promise<void>
  /** Between recovery and the end. Outside of it nothing is done. */
  readonly open: () => boolean
}

export class Readiness {
  readonly #world: World
  readonly #open: () => boolean
  readonly #demand: Demand
  readonly #look: () => Promise<void>
  readonly #standby: Standby

  constructor(world: World, hands: Hands) {
    this.#world = world
    this.#open = hands.open
    this.#look = hands.look
    this.#demand = new Demand({ ...world, ...hands, count: cluster => world.members.of(cluster).length })
    this.#standby = new Standby(world, hands.busy)
  }

  /** What a former process left. */
  adopt(): Promise<void> {
    return this.#standby.adopt()
  }

  /** Requests wait for an instance of the cluster. Never rejects. */
  async wanted(cluster: string): Promise<void> {
    if (!this.#open()) return
    // Whom clones stand by for may be dead: nobody should wait for the next look.
    if (this.#world.pools.clones(cluster).length > 0) await this.#look()
    await this.#demand.wanted(cluster)
  }

  /** The time table of the cluster's standby clones says that they are to be made anew. */
  refresh(cluster: string): void {
    if (this.#open()) this.#standby.clones.refresh(cluster)
  }

  /** A clone that stood by did not serve. */
  discard(cluster: string, name: string): Promise<void> {
    return this.#standby.clones.discard(cluster, name)
  }

  /** Lets clusters go to zero that nobody uses. Never rejects. */
  async lookForIdle(): Promise<void> {
    if (this.#open()) await this.#demand.look()
  }

  /** Makes what is wanted in advance, one thing at a time. A call during a round joins it. Never rejects. */
  async keepReady(): Promise<void> {
    if (this.#open()) await this.#standby.look()
  }

  /** The cluster's warm pool in numbers; null: it has none. */
  warm(cluster: string): WarmCounts | null {
    return warmCounts(this.#world, cluster)
  }

  view(cluster: string): Promise<ReadyView> {
    return readyView(this.#world, cluster)
  }

  close(): Promise<void> {
    return this.#standby.close()
  }
}
