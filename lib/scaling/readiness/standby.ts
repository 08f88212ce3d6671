/**
 * What stands ready before anybody asks for it: a golden snapshot where a cluster needs one, and its warm pool. It works in the
 * background, on one thing at a time, never in a cluster with an operation under way, and after a failure it lets a cluster be for
 * 5 s, 10 s … 5 min.
 */
import type { ClusterConfig, InstanceConfig } from '../../config/config.ts'
import { TidegateError, toTidegateError } from '../../errors.ts'
import type { HeldInstance, Owner } from '../../hypervisor/driver.ts'
import { within } from '../deadline.ts'
import { type GoldenValue, goldenKey, type Source } from '../facts.ts'
import { introduce } from '../introduce.ts'
import { copyMs, limits } from '../limits.ts'
import { goldenName, operationId, resourceName } from '../names.ts'
import { findPlaces } from '../placement/rooms.ts'
import { repairBackoffMs } from '../recovery/repairs.ts'
import { destroyAll } from '../teardown.ts'
import { ownerOf, type World } from '../world.ts'
import { goldenInputs, goldenSource, keepsGolden } from './golden.ts'
import type { PoolItem } from './pool.ts'
import { requireQuota } from './snapshots.ts'
import { StandbyClones } from './standby-clones.ts'
import { rehearse, warm } from './warm.ts'

export class Standby {
  readonly #world: World
  readonly #busy: (cluster: string) => boolean
  readonly #failures = new Map<string, { readonly count: number; readonly notBeforeMs: number }>()
  readonly #closing = new AbortController()
  /** Those that stand by for one instance each. */
  readonly clones: StandbyClones
  #looking: Promise<void> | null = null

  /** `busy`: the cluster has an operation under way. */
  constructor(world: World, busy: (cluster: string) => boolean) {
    this.#world = world
    this.#busy = busy
    this.clones = new StandbyClones(world, busy, this.#closing.signal)
  }

  /** After a restart: what was half made goes, what is there stays. */
  async adopt(): Promise<void> {
    const { clusters, pools } = this.#world
    for (const cluster of clusters.ids()) {
      await pools.load(this.#world, cluster)
      for (const item of pools.of(cluster)) if (item.state === 'making') await this.#destroy(cluster, item)
    }
  }

  /** One look at every cluster, and at most one thing made in each. A call during a look joins it. Never rejects. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = null
    })
    return this.#looking
  }

  async #look(): Promise<void> {
    for (const cluster of this.#world.clusters.ids()) {
      const failed = this.#failures.get(cluster)
      if (this.#closing.signal.aborted || this.#busy(cluster)) continue
      if (failed && this.#world.clock.monotonic() < failed.notBeforeMs) continue
      try {
        await this.#lookAt(cluster)
        await this.clones.lookAt(cluster)
        this.#failures.delete(cluster)
      } catch (error) {
        if (!this.#closing.signal.aborted) this.#failed(cluster, error)
      }
    }
  }

  /** Breaks off what is being made; the next process clears it away. */
  async close(): Promise<void> {
    this.#closing.abort(new TidegateError('shutting_down', 'Tidegate is stopping'))
    await this.#looking
  }

  async #lookAt(cluster: string): Promise<void> {
    const { clusters, pools } = this.#world
    const config = clusters.config(cluster)
    const { instance, standby } = config
    const wanted = instance === null ? 0 : (standby.warmPool?.size ?? 0)
    const held = pools.warm(cluster)
    if (held.length === 0 && wanted === 0 && standby.scaleToZero === null) return
    if (instance === null || !keepsGolden(config)) return this.#empty(cluster, held)
    const golden = await goldenSource(this.#world, cluster)
    for (const item of await this.#unfit(cluster, golden)) await this.#destroy(cluster, item)
    for (const item of pools.warm(cluster).slice(wanted)) await this.#destroy(cluster, item)
    if (this.#busy(cluster)) return
    if (golden === null) return this.#buildGolden(cluster, config, instance)
    if (pools.warm(cluster).length < wanted) await this.#fill(cluster, config, instance, golden)
  }

  async #empty(cluster: string, items: readonly PoolItem[]): Promise<void> {
    for (const item of items) await this.#destroy(cluster, item)
  }

  /** Those that are clones of another snapshot, on a node that is being emptied, or that their node says are not there or do not live. */
  async #unfit(cluster: string, golden: Source | null): Promise<readonly PoolItem[]> {
    const { pools, reality, nodeMarks } = this.#world
    const unfit: PoolItem[] = []
    for (const item of pools.warm(cluster)) {
      const found = await reality.find(item.node, item.name).catch(() => 'unknown' as const)
      const dead = found === null || (found !== 'unknown' && found.state === 'stopped')
      const superseded = golden !== null && item.snapshot !== golden.snapshot
      if (dead || superseded || nodeMarks.closed(item.node) !== null) unfit.push(item)
    }
    return unfit
  }

  async #fill(
    cluster: string,
    config: ClusterConfig,
    instance: InstanceConfig,
    golden: Source,
  ): Promise<void> {
    const { pools, reality, clock, log } = this.#world
    const id = this.#newId()
    const name = resourceName(cluster, id, 'w')
    const node = await this.#promised(cluster, instance, id, name, [golden])
    try {
      if (node !== golden.node)
        throw new TidegateError('no_capacity', `node \`${golden.node}\` has no room for a warm instance`)
      const item = { name, node, snapshot: golden.snapshot!, made_at_ms: clock.now() }
      await pools.put(this.#world, cluster, { ...item, state: 'making' })
      const driver = reality.driver(node)
      try {
        const { port, resources, template } = instance
        const spec = { name, owner: this.#owner(cluster, id), port, resources, template }
        const cloneMs = copyMs(limits.cloneBaseMs, resources.memoryBytes)
        const made = await this.#bounded(cloneMs, `cloning ${name}`, signal =>
          driver.clone({ ...spec, snapshot: golden.snapshot! }, signal),
        )
        await this.#bounded(limits.verifyCloneMs, `warming ${name}`, signal => {
          const target = this.#world.clusters.target(cluster, addressOf(made))
          return rehearse(this.#world, target, config.health, limits.rehearsalsInPool, signal)
        })
        if (config.standby.warmPool?.state === 'paused' && driver.can.pause) await driver.pause(name)
        await pools.put(this.#world, cluster, { ...item, state: 'kept' })
        log.info({ cluster, instance: name }, 'a warm instance stands ready')
      } catch (error) {
        await this.#destroy(cluster, { ...item, state: 'making' }).catch(() => {})
        throw error
      }
    } finally {
      this.#world.promises.drop(id)
    }
  }

  /** Boots one, warms it, saves it and ends it: it was there for nothing else. */
  async #buildGolden(cluster: string, config: ClusterConfig, instance: InstanceConfig): Promise<void> {
    const { store, pools, reality, clusters, clock, log } = this.#world
    const id = this.#newId()
    const name = resourceName(cluster, id, 'g')
    const snapshot = goldenName(cluster, id)
    const node = await this.#promised(cluster, instance, id, name, [])
    const { memoryBytes } = instance.resources
    await requireQuota(this.#world, node, cluster, memoryBytes).catch((error: unknown) => {
      this.#world.promises.drop(id)
      throw error
    })
    const item = { name, node, snapshot, state: 'making', made_at_ms: clock.now() } as const
    try {
      await pools.put(this.#world, cluster, item)
      const inputs = await goldenInputs(instance)
      const { port, resources, template } = instance
      const owner = this.#owner(cluster, id)
      const driver = reality.driver(node)
      const made = await this.#bounded(limits.createMs, `booting ${name}`, signal =>
        driver.create({ name, owner, port, resources, template }, signal),
      )
      await this.#bounded(limits.verifyCreateMs, `warming ${name}`, async signal => {
        await this.#introduce(cluster, made, node, signal)
        const target = clusters.target(cluster, addressOf(made))
        while (!(await this.#world.probe(target, config.health, signal)).ok)
          await clock.sleep(limits.verifyPollMs, signal)
        await warm(this.#world, target, instance.warmRequests, signal)
        await rehearse(this.#world, target, config.health, limits.rehearsalsBeforeSave, signal)
      })
      const saveMs = copyMs(limits.snapshotBaseMs, resources.memoryBytes)
      const saved = await this.#bounded(saveMs, `saving ${name}`, signal =>
        driver.snapshot({ name: snapshot, owner, source: name, keep: true }, signal),
      )
      const { bytes } = saved.snapshot
      const value: GoldenValue = { node, snapshot, inputs, bytes, made_at_ms: clock.now() }
      await store.write([{ put: 'value', key: goldenKey(cluster), value }])
      log.info({ cluster, snapshot, bytes }, 'a golden snapshot was kept')
    } finally {
      this.#world.promises.drop(id)
      await this.#destroy(cluster, item).catch((error: unknown) =>
        log.warn({ cluster, instance: name, err: error }, 'what a golden snapshot was made of is left'),
      )
    }
  }

  async #introduce(cluster: string, { name }: HeldInstance, node: string, signal: AbortSignal) {
    const identity = {
      instanceId: name,
      incarnation: Buffer.from(this.#world.random(16)).toString('base64url'),
      cluster,
      reason: 'created',
      entropy: Buffer.from(this.#world.random(64)).toString('base64'),
      wallClockMs: this.#world.clock.now(),
    } as const
    await introduce(this.#world, node, identity, signal)
  }

  /** The node on which there is room, promised until it is dropped. */
  #promised(
    cluster: string,
    { resources }: InstanceConfig,
    id: string,
    name: string,
    sources: readonly Source[],
  ): Promise<string> {
    const { promises } = this.#world
    return promises.inTurn(async () => {
      const { places } = await findPlaces(this.#world, cluster, { add: 1, sources, victims: [] })
      const { node } = places[0]!
      promises.keep(id, [{ node, name, resources }])
      return node
    })
  }

  #bounded<T>(ms: number, what: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return within(this.#world.clock, ms, what, [this.#closing.signal], work)
  }

  /** First the thing, then its claim: what cannot be destroyed now stays claimed, and is tried again. */
  async #destroy(cluster: string, { name, node, snapshot, of }: PoolItem): Promise<void> {
    if (!this.#world.pools.retire(cluster, name)) return
    // A clone that stands by has a snapshot of its own; all others are of the golden one.
    await destroyAll(this.#world, [{ name, node }, ...(of === undefined ? [] : [{ name: snapshot, node }])])
    await this.#world.pools.drop(this.#world, cluster, name)
  }

  #failed(cluster: string, error: unknown): void {
    const count = (this.#failures.get(cluster)?.count ?? 0) + 1
    const notBeforeMs = this.#world.clock.monotonic() + repairBackoffMs(count)
    this.#failures.set(cluster, { count, notBeforeMs })
    const { code, message } = toTidegateError(error)
    this.#world.log.warn({ cluster, code }, `nothing stands ready yet: ${message}`)
  }

  #newId = () => operationId(this.#world.clock.now(), this.#world.random(5))

  #owner(cluster: string, operation: string): Owner {
    return ownerOf(this.#world, cluster, operation)
  }
}

function addressOf({ name, address }: HeldInstance) {
  if (address) return address
  throw new TidegateError('hypervisor_failed', `instance ${name} came up without an address`)
}
