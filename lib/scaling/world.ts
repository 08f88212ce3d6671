/** What every part of scaling works with, in one value: the parts of the program it may touch, and its own small registers. */
import { randomBytes } from 'node:crypto'
import type { Clock } from '../clock.ts'
import type { NewBackend } from '../cluster/backend.ts'
import type { Clusters } from '../cluster/clusters.ts'
import { type ProbeTarget, probeOnce } from '../cluster/prober.ts'
import type { HealthConfig, Resources } from '../config/config.ts'
import type { Events } from '../events.ts'
import type { Owner } from '../hypervisor/driver.ts'
import type { Log } from '../log.ts'
import type { InstanceRecord, Store, Write } from '../store/store.ts'
import { type Scaled, scaledTimes } from './cooldown.ts'
import type { KeptValues } from './kept-values.ts'
import { Members } from './members.ts'
import { NodeMarks } from './placement/node-marks.ts'
import { Pools } from './readiness/pool.ts'
import { Epochs } from './recovery/epochs.ts'
import { Losses } from './recovery/losses.ts'
import { Reality, type ScalingNode } from './recovery/reality.ts'
import { wantedCounts } from './recovery/wanted.ts'
import { type Hands, Parts } from './rolling/parts.ts'
import { Templates } from './rolling/templates.ts'
import { Tally } from './tally.ts'

export type Probe = (
  target: ProbeTarget,
  health: HealthConfig,
  signal?: AbortSignal,
) => Promise<{ readonly ok: boolean; readonly reason: string }>

export interface ScalingDeps {
  readonly clusters: Clusters
  readonly nodes: readonly ScalingNode[]
  readonly store: Store
  readonly clock: Clock
  readonly events: Events
  readonly log: Log
  readonly installation: string
  /** How an instance is asked whether it is well; tests may give another. */
  readonly probe?: Probe
  /** Chance, so many bytes of it; a simulation gives its own. */
  readonly random?: (bytes: number) => Uint8Array
}

export interface World {
  readonly clusters: Clusters
  readonly reality: Reality
  readonly members: Members
  readonly promises: Promises
  readonly nodeMarks: NodeMarks
  readonly pools: Pools
  readonly templates: Templates
  readonly losses: Losses
  readonly wanted: KeptValues<number>
  readonly scaled: KeptValues<Scaled>
  readonly parts: Parts
  readonly store: Store
  readonly clock: Clock
  readonly events: Events
  readonly log: Log
  readonly installation: string
  readonly epochs: Epochs
  readonly tally: Tally
  readonly probe: Probe
  /** Chance, so many bytes of it. */
  readonly random: (bytes: number) => Uint8Array
}

/** `hands`: what operations that consist of others need. */
export function createWorld({ nodes, probe, random, ...rest }: ScalingDeps, hands: Hands): World {
  const world = {
    ...rest,
    reality: new Reality(nodes, rest.clock),
    members: new Members(),
    promises: new Promises(),
    nodeMarks: new NodeMarks(),
    pools: new Pools(),
    templates: new Templates(),
    epochs: new Epochs(),
    tally: new Tally(),
    losses: new Losses(),
    wanted: wantedCounts(),
    scaled: scaledTimes(),
    probe: probe ?? probeOnce,
    random: random ?? randomBytes,
  }
  return { ...world, parts: new Parts(world, hands) }
}

/** The tag of what is made now. */
export function ownerOf({ installation, epochs }: World, cluster: string, operation: string): Owner {
  return { installation, cluster, operation, epoch: epochs.current }
}

/** Writes to the store and, once that has happened, to the memory beside it. */
export async function commit(world: World, batch: readonly Write[]): Promise<void> {
  await world.store.write(batch)
  remember(world, batch)
}

/** What the store has taken is what the memory beside it says from now on. */
export function remember(
  { members, templates, losses, wanted, scaled }: World,
  batch: readonly Write[],
): void {
  members.committed(batch)
  templates.committed(batch)
  losses.committed(batch)
  wanted.committed(batch)
  scaled.committed(batch)
}

/** What the store has of a cluster: a write whose answer was lost may have been taken. */
export async function reread(world: World, cluster: string): Promise<void> {
  const { store, members, templates, losses, wanted, scaled } = world
  members.reload(cluster, (await store.membership()).instances)
  for (const kept of [templates, losses, wanted, scaled]) await kept.load(store, [cluster])
}

export function newBackend(
  record: InstanceRecord,
  facts: Pick<Required<NewBackend>, 'verified' | 'mark' | 'zone'>,
): NewBackend {
  const { id, address, incarnation, node } = record
  const where = { host: address.host, port: address.port }
  // What is shared with nobody who ever served is of no use to a client.
  const lineage = (record.lineage ?? []).filter(({ incarnation }) => incarnation !== null)
  return { id, ...where, weight: 1, incarnation, instance: { node }, lineage, ...facts }
}

/** Room on nodes that running operations were promised and have not taken yet; and the turn to ask for it. */
export class Promises {
  readonly #made = new Map<string, readonly Promised[]>()
  #turn: Promise<unknown> = Promise.resolve()

  on(node: string): readonly Promised[] {
    return [...this.#made.values()].flat().filter(promised => promised.node === node)
  }

  of(operation: string): readonly Promised[] {
    return this.#made.get(operation) ?? []
  }

  all(): readonly Promised[] {
    return [...this.#made.values()].flat()
  }

  keep(operation: string, promised: readonly Promised[]): void {
    this.#made.set(operation, promised)
  }

  drop(operation: string): void {
    this.#made.delete(operation)
  }

  /** Runs one at a time, so that two operations are never promised the same room. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(work, work)
    this.#turn = mine.catch(() => {})
    return mine
  }
}

export interface Promised {
  readonly node: string
  readonly name: string
  readonly resources: Resources
}
