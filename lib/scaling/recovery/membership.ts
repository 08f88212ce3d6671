/**
 * Who may serve when Tidegate starts: what the hypervisors hold first, then what the store says.
 *
 *   in the store, held and running            serves
 *   in the store, held and paused             resumed, serves: somebody died while it was being saved
 *   in the store, its node cannot be asked    serves: not knowing is not the same as gone
 *   in the store, its node says stopped/gone  leaves the store, with a line of history
 *   in the store and damaged, held            its record is mended, serves
 */
import type { NewBackend } from '../../cluster/backend.ts'
import type { Held } from '../../hypervisor/driver.ts'
import type { InstanceRecord, MarkRecord } from '../../store/store.ts'
import { within } from '../deadline.ts'
import { limits } from '../limits.ts'
import { parallel } from '../parallel.ts'
import { commit, newBackend, type World } from '../world.ts'
import { removalOf } from './losses.ts'
import type { Quarantine } from './quarantine.ts'
import { realityOf } from './reality.ts'
import { wantedBeforeDeath } from './wanted.ts'

export interface InitialBackend {
  readonly cluster: string
  readonly backend: NewBackend
}

export async function readMembership(
  world: World,
  quarantine: Quarantine,
): Promise<readonly InitialBackend[]> {
  const held = await world.reality.inspectAll()
  // Without it what is made now carries the number of a former life, and nothing worse: the start goes on.
  await world.epochs
    .begin(world.store, world.installation, held)
    .catch((error: unknown) => world.log.error({ err: error }, 'this life could not be numbered yet'))
  await quarantine.mend(
    [...held].flatMap(([node, answer]) => (answer?.instances ?? []).map(instance => ({ node, instance }))),
  )
  const { instances, backends, marks } = await world.store.membership()
  world.members.load(instances)
  // Whose place a clone takes stays until then, so that its clients are known.
  const dead = deadAmong(instances, held).filter(
    ({ cluster, id }) => world.pools.standbyOf(cluster, id) === null,
  )
  await removeDead(world, dead, 'not running when Tidegate started')
  await resumePaused(world, held, new Set(instances.map(record => record.id)))
  const markOf = (cluster: string, id: string): MarkRecord['mark'] | null =>
    marks.find(mark => mark.cluster === cluster && mark.backend === id)?.mark ?? null
  const configured = world.members.all().filter(record => world.clusters.has(record.cluster))
  const served = configured.map(async (record): Promise<InitialBackend> => {
    const { health } = world.clusters.config(record.cluster)
    const verified = (await world.probe(record.address, health)).ok
    const mark = markOf(record.cluster, record.id)
    const backend = newBackend(record, { verified, mark, zone: world.reality.zoneOf(record.node) })
    return { cluster: record.cluster, backend }
  })
  const registered = backends
    .filter(record => world.clusters.has(record.cluster))
    .map(({ cluster, id, address, weight, incarnation, zone = null }): InitialBackend => {
      const where = { id, host: address.host, port: address.port, weight, incarnation, zone }
      return { cluster, backend: { ...where, instance: null, verified: false, mark: markOf(cluster, id) } }
    })
  return [...(await Promise.all(served)), ...registered]
}

/** Members whose node answers that they are not there, or there and stopped. */
export function deadAmong(
  records: readonly InstanceRecord[],
  held: ReadonlyMap<string, Held | null>,
): readonly InstanceRecord[] {
  return records.filter(record => {
    const reality = realityOf(held, record.node, record.id)
    return reality === 'gone' || (reality !== 'unknown' && reality.state === 'stopped')
  })
}

/** Takes the dead out of the store, with a line of history a cluster. What is left of them on the nodes is an orphan then. */
export async function removeDead(world: World, dead: readonly InstanceRecord[], why: string): Promise<void> {
  const clusters = [...new Set(dead.map(record => record.cluster))]
  const remove = async (cluster: string) => {
    const gone = dead.filter(record => record.cluster === cluster)
    const there = world.members.of(cluster)
    const from = there.length
    const ids = gone.map(({ id }) => id)
    const removals = [...removalOf(world, cluster, ids), ...wantedBeforeDeath(world, cluster, there)]
    const reason = `Removed ${gone.map(record => record.id).join(', ')}: ${why}`
    const at = { atMs: world.clock.now(), actor: 'reconcile', from, to: from - gone.length }
    const what = { action: 'remove_dead', outcome: 'done' } as const
    await commit(world, [...removals, { put: 'history', record: { cluster, ...at, ...what, reason } }])
    world.log.warn({ cluster, instances: gone.map(record => record.id) }, why)
  }
  await parallel(clusters, limits.clustersAtOnceMax, new AbortController().signal, remove)
}

/** Makes paused instances run that are ours and among `names`. A failure is logged and met again at the next reconcile. */
export async function resumePaused(
  world: World,
  held: ReadonlyMap<string, Held | null>,
  names: ReadonlySet<string>,
): Promise<void> {
  const onNode = async ([node, answer]: readonly [string, Held | null]) => {
    for (const { name, state, owner } of answer?.instances ?? []) {
      if (state !== 'paused' || owner.installation !== world.installation || !names.has(name)) continue
      try {
        const resume = () => world.reality.driver(node).resume(name)
        await within(world.clock, limits.inspectMs, `resuming ${name}`, [], resume)
        world.log.warn({ node, instance: name }, 'was left paused; resumed')
        // After it and not before: it serves, and a store that takes nothing now is no reason to keep it still.
        const at = { atMs: world.clock.now(), actor: 'reconcile', action: 'resume', outcome: 'done' } as const
        const what = { cluster: owner.cluster, node, from: 'paused', to: 'running' }
        const reason = `Resumed ${name}, which was left paused`
        await commit(world, [{ put: 'history', record: { ...at, ...what, reason } }])
      } catch (error) {
        world.log.error(
          { node, instance: name, err: error },
          'was left paused: it cannot be resumed yet, or that cannot be told',
        )
      }
    }
  }
  await Promise.all([...held].map(onNode))
}
