/**
 * Standby clones: of each instance as many as are asked for, with its memory as of their snapshot, verified, kept out of rotation and paused
 * where the driver can. By the time table each is made anew from the instance that serves, and only then the old one goes. They are in
 * the pool, so a restart finds them, and they are taken by a failover (`steps/failover.ts`), never by a scale-out.
 *
 *   claimed (`making`) ── saved, cloned, identified, verified, paused ──► kept ── its instance dies ──► takes its place
 *        │ failed, or found after a restart                                 │ a newer one is there, its instance left, or it died
 *        ▼                                                                  ▼
 *      destroyed ◄──────────────────────────────────────────────────────────┘
 */
import type { ClusterConfig, InstanceConfig } from '../../config/config.ts'
import { TidegateError } from '../../errors.ts'
import type { InstanceRecord } from '../../store/store.ts'
import { within } from '../deadline.ts'
import { introduce } from '../introduce.ts'
import { copyMs, limits } from '../limits.ts'
import { operationId, resourceName } from '../names.ts'
import { findPlaces } from '../placement/rooms.ts'
import { untilHealthy } from '../steps/verify.ts'
import { destroyAll } from '../teardown.ts'
import { ownerOf, type World } from '../world.ts'
import type { PoolItem } from './pool.ts'
import { saveLive, saveMs } from './save-live.ts'

export class StandbyClones {
  readonly #world: World
  readonly #busy: (cluster: string) => boolean
  readonly #closing: AbortSignal
  /** By cluster: wall clock, before which a clone is too old. */
  readonly #dueMs = new Map<string, number>()

  constructor(world: World, busy: (cluster: string) => boolean, closing: AbortSignal) {
    this.#world = world
    this.#busy = busy
    this.#closing = closing
  }

  /** The time has come: the next looks make each anew. */
  refresh(cluster: string): void {
    this.#dueMs.set(cluster, this.#world.clock.now())
  }

  /** At most one is made. Throws what keeps it from being made. */
  async lookAt(cluster: string): Promise<void> {
    const { clusters, pools } = this.#world
    const config = clusters.config(cluster)
    const count = config.instance === null ? 0 : (config.standby.clones?.count ?? 0)
    if (count === 0 && pools.clones(cluster).length === 0) return
    await this.#dropUnfit(cluster, count)
    await this.#guard(cluster)
    if (this.#busy(cluster)) return
    const next = this.#next(cluster, count)
    if (next === null) return
    await this.#make(cluster, config, config.instance!, next)
    await this.#dropUnfit(cluster, count)
    await this.#guard(cluster)
  }

  /** A failover took it and it did not serve. */
  async discard(cluster: string, name: string): Promise<void> {
    const item = this.#world.pools.clones(cluster).find(one => one.name === name)
    if (item) await this.#destroy(cluster, item)
  }

  /** Whose clones are fewest, or the first one too old; null: all is as it should be. Only who is well is saved. */
  #next(cluster: string, count: number): InstanceRecord | null {
    const { members, pools, clusters, nodeMarks } = this.#world
    const dueMs = this.#dueMs.get(cluster) ?? 0
    const well = new Set(
      clusters.backends(cluster).flatMap(({ id, state }) => (state === 'ready' ? [id] : [])),
    )
    const fresh = ({ id }: InstanceRecord) =>
      pools.clones(cluster).filter(({ of, state, as_of_ms: asOfMs = 0 }) => {
        return of === id && state === 'kept' && asOfMs >= dueMs
      }).length
    const lacking = members
      .of(cluster)
      .filter(one => fresh(one) < count && well.has(one.id) && nodeMarks.closed(one.node) === null)
    return lacking.toSorted((a, b) => fresh(a) - fresh(b))[0] ?? null
  }

  /** Those whose instance left, that do not live, and the oldest of too many. Never one that has become a member. */
  async #dropUnfit(cluster: string, count: number): Promise<void> {
    const { pools, members, reality, nodeMarks } = this.#world
    for (const item of pools.clones(cluster)) {
      if (this.#busy(cluster)) return
      if (members.get(item.name)) {
        await pools.drop(this.#world, cluster, item.name)
        continue
      }
      const of = pools.clones(cluster).filter(other => other.of === item.of && other.state === 'kept')
      const newer = of.filter(other => (other.as_of_ms ?? 0) > (item.as_of_ms ?? 0)).length
      const found = await reality.find(item.node, item.name).catch(() => 'unknown' as const)
      const dead = found === null || (found !== 'unknown' && found.state === 'stopped')
      const left = members.get(item.of!) === null || nodeMarks.closed(item.node) !== null
      if ((dead || left || newer >= count) && !this.#busy(cluster)) await this.#destroy(cluster, item)
    }
  }

  async #make(cluster: string, config: ClusterConfig, instance: InstanceConfig, source: InstanceRecord) {
    const { pools, promises, clock, log } = this.#world
    const id = operationId(clock.now(), this.#world.random(5))
    const item: PoolItem = {
      name: resourceName(cluster, id, 'b'),
      node: source.node,
      snapshot: resourceName(cluster, id, 's'),
      state: 'making',
      made_at_ms: clock.now(),
      of: source.id,
      ...(source.resources ? { resources: { ...source.resources } } : {}),
    }
    await promises.inTurn(async () => {
      const from = { node: source.node, instance: source.id, snapshot: null }
      const { places } = await findPlaces(this.#world, cluster, { add: 1, sources: [from], victims: [] })
      if (places[0]!.node !== source.node)
        throw new TidegateError('no_capacity', `node \`${source.node}\` has no room for a clone to stand by`)
      promises.keep(id, [
        { node: item.node, name: item.name, resources: source.resources ?? instance.resources },
      ])
    })
    try {
      await pools.put(this.#world, cluster, item)
      const asOfMs = await this.#clone(config, instance, source, item)
      await pools.put(this.#world, cluster, { ...item, state: 'kept', as_of_ms: asOfMs })
      await destroyAll(this.#world, [{ name: item.snapshot, node: item.node }])
      log.info({ cluster, instance: item.name, of: source.id }, 'a clone stands by')
    } catch (error) {
      await this.#destroy(cluster, item).catch(() => {})
      throw error
    } finally {
      promises.drop(id)
    }
  }

  /** Resolves to the instant of its memory. */
  async #clone(
    config: ClusterConfig,
    instance: InstanceConfig,
    source: InstanceRecord,
    { name, node, snapshot }: PoolItem,
  ): Promise<number> {
    const { id: cluster } = config
    const { reality, clusters } = this.#world
    const driver = reality.driver(node)
    const owner = ownerOf(this.#world, cluster, name)
    const { resources = instance.resources } = source
    const fence = clusters.backends(cluster).some(({ id, state }) => id !== source.id && state === 'ready')
    const saving = { cluster, item: { name: snapshot, node, source: source.id }, owner, fence }
    const saved = await this.#bounded(saveMs(resources.memoryBytes), `saving ${source.id}`, signal =>
      saveLive(this.#world, saving, signal),
    )
    const { port, template } = instance
    const made = await this.#bounded(
      copyMs(limits.cloneBaseMs, resources.memoryBytes),
      `cloning ${source.id}`,
      signal => driver.clone({ name, owner, port, resources, template, snapshot }, signal),
    )
    const asOfMs = saved.snapshot.createdAtMs
    await this.#bounded(limits.verifyCloneMs, `verifying ${name}`, async signal => {
      const identity = this.#identity(cluster, name, source.id, asOfMs)
      await introduce(this.#world, node, identity, signal)
      if (made.address === null)
        throw new TidegateError('hypervisor_failed', `instance ${name} came up without an address`)
      await untilHealthy(
        { world: this.#world, cluster, config },
        { name, node, address: made.address },
        signal,
      )
    })
    if (driver.can.pause) await driver.pause(name)
    return asOfMs
  }

  #identity(cluster: string, instanceId: string, source: string, atMs: number) {
    const { random, clock } = this.#world
    return {
      ...({ instanceId, cluster, reason: 'cloned', wallClockMs: clock.now() } as const),
      incarnation: Buffer.from(random(16)).toString('base64url'),
      entropy: Buffer.from(random(64)).toString('base64'),
      clonedFrom: { instanceId: source, atMs },
    }
  }

  /** The threads learn for whom a clone stands by, when that has changed. */
  async #guard(cluster: string): Promise<void> {
    const { clusters, pools, members } = this.#world
    const guarded = members.of(cluster).filter(({ id }) => pools.standbyOf(cluster, id) !== null)
    const incarnations = guarded.map(({ incarnation }) => incarnation)
    const known = clusters.table().clusters.find(({ id }) => id === cluster)?.guarded ?? []
    const same = known.length === incarnations.length && incarnations.every(one => known.includes(one))
    if (!same) await clusters.change(cluster, { guarded: incarnations })
  }

  #bounded<T>(ms: number, what: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return within(this.#world.clock, ms, what, [this.#closing], work)
  }

  /** First the thing, then its claim: what cannot be destroyed now stays claimed, and is tried again. */
  async #destroy(cluster: string, { name, node, snapshot }: PoolItem): Promise<void> {
    const { pools } = this.#world
    if (!pools.retire(cluster, name)) return
    await destroyAll(this.#world, [
      { name, node },
      { name: snapshot, node },
    ])
    await pools.drop(this.#world, cluster, name)
  }
}
