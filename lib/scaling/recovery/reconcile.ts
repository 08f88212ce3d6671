/**
 * Reconciling: making the store, the table and reality agree, over and over, from what is there and not from what happened.
 * Bounded: one look at the nodes a round, one operation a cluster. What an operation under way is concerned with is left to it.
 */
import { toTidegateError } from '../../errors.ts'
import type { Held } from '../../hypervisor/driver.ts'
import type { InstanceRecord, Write } from '../../store/store.ts'
import { within } from '../deadline.ts'
import { claimedNames, concernedBy } from '../facts.ts'
import { limits } from '../limits.ts'
import { ensureDeregistered, ensureRegistered, servingIds } from '../membership-change.ts'
import { parallel } from '../parallel.ts'
import { goldenOf, restedOn } from '../readiness/golden.ts'
import { pooled } from '../readiness/pool.ts'
import type { World } from '../world.ts'
import { deadAmong, removeDead, resumePaused } from './membership.ts'
import { findOrphans, type Orphan } from './orphans.ts'
import type { HeldBack } from './quarantine.ts'

/** One look at the nodes, and the members that were known before it was taken. */
export interface Look {
  readonly known: readonly InstanceRecord[]
  readonly held: ReadonlyMap<string, Held | null>
}

export interface Mending {
  readonly busy: () => boolean
  /** See `Failovers.begin`. */
  readonly failOver: (cluster: string, dead: readonly InstanceRecord[]) => Promise<readonly InstanceRecord[]>
}

/**
 * One cluster: dead instances leave the store and the table, what was left paused runs, the table says what the store says.
 * As soon as the cluster is busy the rest is the operation's, but for the dead who are nothing to it.
 */
export async function mendMembership(
  world: World,
  cluster: string,
  { known, held }: Look,
  { busy, failOver }: Mending,
): Promise<void> {
  if (busy()) return removeBystanders(world, cluster, { known, held })
  const records = known.filter(record => record.cluster === cluster && world.members.get(record.id))
  await resumePaused(world, held, new Set(records.map(record => record.id)))
  if (busy()) return
  await removeDead(world, await failOver(cluster, deadAmong(records, held)), 'its process is gone')
  if (busy() || !world.clusters.has(cluster)) return
  await ensureRegistered(world, cluster, world.members.of(cluster))
  if (busy()) return
  const strangers = [...servingIds(world, cluster)].filter(id => world.members.get(id) === null)
  const strayed = strangers.filter(id => world.clusters.backend(cluster, id).instance !== null)
  await ensureDeregistered(world, cluster, strayed)
  for (const id of strayed) await world.clusters.waitGone(cluster, id, 0)
}

/**
 * A drain may go on for an hour, and as long nobody's cookie is to name somebody dead. Whom a clone stands by for waits until a
 * failover can begin.
 */
async function removeBystanders(world: World, cluster: string, { known, held }: Look): Promise<void> {
  const members = known.filter(({ id }) => world.members.get(id)?.cluster === cluster)
  const dead = deadAmong(members, held).filter(({ id }) => world.pools.standbyOf(cluster, id) === null)
  if (dead.length === 0) return
  const unfinished = await world.store.operations({ cluster, unfinished: true, limit: limits.unfinishedMax })
  const concerned = await Promise.all(
    unfinished.map(async record => concernedBy(record, await world.store.journal(record.id))),
  )
  const gone = dead.filter(({ id }) => concerned.every(ids => ids !== null && !ids.has(id)))
  const ids = gone.map(({ id }) => id)
  await removeDead(world, gone, 'its process is gone')
  if (!world.clusters.has(cluster)) return
  await ensureDeregistered(world, cluster, ids)
  for (const id of ids) await world.clusters.waitGone(cluster, id, 0)
}

/**
 * Destroys what nobody wants, and tells what is left of it. `held` must have been read before this is called: the claims are read
 * after it. `told` are those that the history has already, for what cannot be destroyed is tried again and again.
 */
export async function collectOrphans(
  world: World,
  held: ReadonlyMap<string, Held | null>,
  back: HeldBack,
  told: Set<string>,
): Promise<readonly Orphan[]> {
  const claimed = new Set([...(await claims(world)), ...restedOn(held)])
  const { installation, clock, epochs, log, tally } = world
  const found = findOrphans(held, claimed, {
    ...{ installation, nowMs: clock.now(), guardMs: limits.orphanGuardMs },
    known: owner => epochs.knows(owner),
    heldBack: cluster => back.all ?? back.clusters.get(cluster) ?? null,
  })
  try {
    await tellOf(world, found, told)
  } catch (error) {
    // They stay, and whoever asks hears of them all the same.
    log.error({ err: error }, 'reconcile: no orphan goes before the history says so')
    const why = `the history does not take that it goes: ${toTidegateError(error).message}`
    return found.map(orphan => ({ ...orphan, why: orphan.why ?? why }))
  }
  const never = new AbortController().signal
  const left = await parallel(found, limits.parallelMax, never, async orphan => {
    const { node, name, kind, cluster, why } = orphan
    if (why !== null) return orphan
    try {
      // A hypervisor that is silent about one must not keep a round from all the others.
      const destroy = () => world.reality.driver(node).destroy(name)
      await within(clock, limits.revertMs, `destroying ${name}`, [], destroy)
      log.warn({ node, cluster, name, kind }, 'orphan destroyed')
      tally.orphans.add({ node, kind })
      told.delete(keyOf(orphan))
      return null
    } catch (error) {
      log.error({ node, cluster, name, kind, err: error }, 'orphan cannot be destroyed yet')
      return { ...orphan, why: `it cannot be destroyed: ${toTidegateError(error).message}` }
    }
  })
  return left.filter(orphan => orphan !== null)
}

const keyOf = ({ node, name }: Orphan) => `${node}/${name}`

/** A line of history for each that goes now, before it does: what throws here keeps all of them. */
async function tellOf({ store, clock }: World, found: readonly Orphan[], told: Set<string>): Promise<void> {
  const keys = new Set(found.map(keyOf))
  for (const key of told) if (!keys.has(key)) told.delete(key)
  const due = found.filter(orphan => orphan.why === null && !told.has(keyOf(orphan)))
  if (due.length === 0) return
  const lines = due.map(({ node, name, kind, cluster, operation }): Write => {
    const at = { atMs: clock.now(), actor: 'reconcile', action: 'destroy_orphan', outcome: 'done' } as const
    const reason = `Destroying ${kind} ${name} on node ${node}, which operation ${operation} made and nobody claims`
    return { put: 'history', record: { ...at, cluster, node, from: name, to: null, reason } }
  })
  await store.write(lines)
  for (const orphan of due) told.add(keyOf(orphan))
}

/** Every name that somebody answers for: members, whoever is in a table, unfinished journals, golden snapshots, warm pools. */
async function claims(world: World): Promise<ReadonlySet<string>> {
  const claimed = new Set<string>()
  // Before the journals: who takes one out of a pool names it in its journal in the same transaction.
  const clusters = world.clusters.ids()
  const pools = await Promise.all(clusters.map(cluster => pooled(world, cluster)))
  for (const { name, snapshot, of, state } of pools.flat()) {
    claimed.add(name)
    // What a clone that stands by was made of has served; whoever should have dropped it may have died.
    if (of === undefined || state === 'making') claimed.add(snapshot)
  }
  const unfinished = await world.store.operations({ unfinished: true, limit: limits.unfinishedMax })
  const journals = await Promise.all(unfinished.map(({ id }) => world.store.journal(id)))
  for (const name of journals.flatMap(claimedNames)) claimed.add(name)
  // After the journals: an operation that ended in between has become a member, or has undone itself.
  for (const record of (await world.store.membership()).instances) claimed.add(record.id)
  for (const golden of await Promise.all(clusters.map(cluster => goldenOf(world, cluster))))
    if (golden) claimed.add(golden.snapshot)
  // A table that still names it sends clients to its address, which somebody else may get when it is destroyed.
  for (const cluster of world.clusters.ids()) for (const id of servingIds(world, cluster)) claimed.add(id)
  return claimed
}
