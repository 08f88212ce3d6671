/**
 * What a new configuration changes, and what of it cannot change without a restart. @pure
 *
 *   old, new, what is held ──► difference ──► nothing refused: everything in it may be applied
 *                                        └──► refusals, each by the name of its key and with the reason: nothing may be
 *
 * A key that nobody has said anything of here is refused: a reload never passes over a setting in silence.
 */
import { isDeepStrictEqual } from 'node:util'
import { formatAddress, overlap } from '../units.ts'
import type { ClusterConfig, Config, ListenerConfig, NodeConfig, StaticBackendConfig } from './config.ts'

/** What the configuration alone does not say. */
export interface HeldNow {
  instances(cluster: string): number
  /** The operation that is under way in the cluster. */
  operation(cluster: string): string | null
  /** Who holds this id in the cluster without the configuration's word: an instance, or a backend registered through the API. */
  holder(cluster: string, backend: string): 'instance' | 'api' | null
}

export interface Refusal {
  /** As `clusters[web].instance.driver`. */
  readonly path: string
  readonly reason: string
}

/** One thing that changes, for people and for the history. */
export interface Change {
  /** Whose it is; null: of the whole. */
  readonly cluster: string | null
  readonly text: string
}

export interface Difference {
  readonly changes: readonly Change[]
  readonly refusals: readonly Refusal[]
}

export function difference(before: Config, after: Config, held: HeldNow): Difference {
  const parts = [
    threadsDifference(before.threads, after.threads),
    wholeDifference(before, after),
    listenersDifference(before, after),
    nodesDifference(before.nodes, after.nodes),
    clustersDifference(before.clusters, after.clusters, held),
  ]
  return {
    changes: parts.flatMap(({ changes }) => changes),
    refusals: parts.flatMap(({ refusals }) => refusals),
  }
}

/** Looked at one by one below. */
const ownRules: ReadonlySet<string> = new Set(['listeners', 'nodes', 'clusters', 'threads'])
const applied: ReadonlySet<string> = new Set([
  'trustedProxies',
  'debugHeaders',
  'shutdown',
  'overload',
  'accessLog',
  'tracing',
])
const whyNot: Readonly<Record<string, string>> = {
  store: 'what is kept in the one store is not in the other',
  admin: 'the admin API would cut the very request that asks for it',
}

function wholeDifference(before: Config, after: Config): Difference {
  const changed = keysThatDiffer(before, after).filter(key => !ownRules.has(key))
  return {
    changes: changed.filter(key => applied.has(key)).map(key => whole(wireName(key))),
    refusals: changed
      .filter(key => !applied.has(key))
      .map(key => refusal(wireName(key), whyNot[key] ?? 'it is read at the start only')),
  }
}

/** Without threads the ports are not shared, so nobody can join who listens there. */
function threadsDifference(before: number, after: number): Difference {
  if (before === after) return { changes: [], refusals: [] }
  if (before > 0 && after > 0) return { changes: [whole(`threads: ${before} to ${after}`)], refusals: [] }
  const why =
    'with `threads: 0` the main thread has the listening sockets for itself, and cannot share or give them up'
  return { changes: [], refusals: [refusal('threads', why)] }
}

/** A listener is another one when anything of it is another. */
function listenersDifference(before: Config, after: Config): Difference {
  const removed = without(before.listeners, after.listeners)
  const added = without(after.listeners, before.listeners)
  const inTheWay = (one: ListenerConfig) =>
    removed.find(other => one.port !== 0 && !sameAddress(one, other) && overlap(one, other))
  const changed = added.filter(one => removed.some(other => sameAddress(one, other)))
  const named = (one: ListenerConfig) => `listener ${formatAddress(one.host, one.port)}`
  const unchanged = (one: ListenerConfig) => !changed.some(other => sameAddress(one, other))
  const refusals = added.flatMap(one =>
    before.threads === 0 && inTheWay(one)
      ? [
          refusal(
            `listeners[${formatAddress(one.host, one.port)}]`,
            'with `threads: 0` the port cannot be shared by the former address and the new one for a moment',
          ),
        ]
      : [],
  )
  return {
    changes: [
      ...added.filter(unchanged).map(one => whole(`${named(one)} added`)),
      ...changed.map(one => whole(`${named(one)} changed`)),
      ...removed.filter(unchanged).map(one => whole(`${named(one)} removed`)),
    ],
    refusals,
  }
}

function nodesDifference(before: readonly NodeConfig[], after: readonly NodeConfig[]): Difference {
  const former = new Map(before.map(node => [node.id, node]))
  const now = new Set(after.map(({ id }) => id))
  const changes: Change[] = []
  const refusals: Refusal[] = []
  for (const { id } of before)
    if (!now.has(id)) refusals.push(refusal(`nodes[${id}]`, 'a node that was in use cannot be given up'))
  for (const node of after) {
    const old = former.get(node.id)
    if (!old) {
      changes.push(whole(`node ${node.id} added`))
      continue
    }
    const keys = keysThatDiffer(old, node)
    for (const key of keys.filter(key => key === 'driver' || key === 'directory' || key === 'options'))
      refusals.push(refusal(`nodes[${node.id}].${key}`, 'its driver is started once'))
    if (keys.length > 0) changes.push(whole(`node ${node.id}: ${keys.map(wireName).join(', ')}`))
  }
  return { changes, refusals }
}

function clustersDifference(
  before: readonly ClusterConfig[],
  after: readonly ClusterConfig[],
  held: HeldNow,
): Difference {
  const former = new Map(before.map(cluster => [cluster.id, cluster]))
  const now = new Set(after.map(({ id }) => id))
  const gone = before.filter(({ id }) => !now.has(id))
  const parts = after.map(cluster => clusterDifference(former.get(cluster.id) ?? null, cluster, held))
  return {
    changes: [
      ...parts.flatMap(({ changes }) => changes),
      ...gone.map(({ id }) => ({ cluster: id, text: `cluster ${id} removed` })),
    ],
    refusals: [
      ...parts.flatMap(({ refusals }) => refusals),
      ...gone.flatMap(({ id }) => removalRefusals(id, held)),
    ],
  }
}

function removalRefusals(id: string, held: HeldNow): Refusal[] {
  const operation = held.operation(id)
  if (operation !== null)
    return [refusal(`clusters[${id}]`, `operation ${operation} is under way in it; wait for it or cancel it`)]
  const instances = held.instances(id)
  if (instances === 0) return []
  return [refusal(`clusters[${id}]`, `it still has ${instances} instances, and nobody would look after them`)]
}

function clusterDifference(old: ClusterConfig | null, cluster: ClusterConfig, held: HeldNow): Difference {
  const { id } = cluster
  const change = (text: string): Change => ({ cluster: id, text })
  if (!old) return { changes: [change(`cluster ${id} added`)], refusals: [] }
  const keys = keysThatDiffer(old, cluster).flatMap(key =>
    key === 'backends' ? [] : partsOf(old, cluster, key),
  )
  return {
    changes: [
      ...(keys.length > 0 ? [change(`cluster ${id}: ${keys.join(', ')}`)] : []),
      ...backendChanges(old, cluster).map(change),
    ],
    refusals: [...instanceRefusals(old, cluster, held), ...backendRefusals(old, cluster, held)],
  }
}

/** The keys of the file behind one of a cluster's. */
function partsOf(old: ClusterConfig, cluster: ClusterConfig, key: string): string[] {
  if (key !== 'resilience') return [wireName(key)]
  return keysThatDiffer(old.resilience, cluster.resilience).map(wireName)
}

function backendChanges(old: ClusterConfig, cluster: ClusterConfig): string[] {
  const named = (one: StaticBackendConfig) => `backend ${cluster.id}/${one.id}`
  const former = new Map(old.backends.map(backend => [backend.id, backend]))
  const now = new Set(cluster.backends.map(backend => backend.id))
  return [
    ...cluster.backends.flatMap(backend => {
      const before = former.get(backend.id)
      if (!before) return [`${named(backend)} added`]
      const keys = keysThatDiffer(before, backend)
      if (keys.includes('host') || keys.includes('port'))
        return [`${named(backend)} moved to ${formatAddress(backend.host, backend.port)}`]
      return keys.length > 0 ? [`${named(backend)}: ${keys.map(wireName).join(', ')}`] : []
    }),
    ...old.backends.filter(({ id }) => !now.has(id)).map(backend => `${named(backend)} removed`),
  ]
}

function instanceRefusals(old: ClusterConfig, cluster: ClusterConfig, held: HeldNow): Refusal[] {
  if (isDeepStrictEqual(old.instance, cluster.instance)) return []
  const path = `clusters[${cluster.id}].instance`
  const operation = held.operation(cluster.id)
  if (operation !== null)
    return [refusal(path, `operation ${operation} is under way; wait for it or cancel it`)]
  const instances = held.instances(cluster.id)
  if (instances === 0 || old.instance === null) return []
  const why = `the cluster has ${instances} instances of the former kind`
  if (cluster.instance === null) return [refusal(path, why)]
  const { instance } = cluster
  return (['driver', 'port'] as const)
    .filter(key => old.instance?.[key] !== instance[key])
    .map(key => refusal(`${path}.${key}`, why))
}

/** An id has one owner. */
function backendRefusals(old: ClusterConfig, cluster: ClusterConfig, held: HeldNow): Refusal[] {
  const former = new Set(old.backends.map(({ id }) => id))
  return cluster.backends.flatMap(({ id }) => {
    const holder = former.has(id) ? null : held.holder(cluster.id, id)
    if (holder === null) return []
    const path = `clusters[${cluster.id}].backends[${id}]`
    return holder === 'instance'
      ? [refusal(path, 'an instance of the cluster has this id; choose another')]
      : [refusal(path, 'it was registered through the admin API; deregister it there first')]
  })
}

const sameAddress = (a: ListenerConfig, b: ListenerConfig): boolean => a.host === b.host && a.port === b.port

/** Those of `all` that are not in `others`, each counted once. */
function without(all: readonly ListenerConfig[], others: readonly ListenerConfig[]): ListenerConfig[] {
  const left = [...others]
  return all.filter(one => {
    const at = left.findIndex(other => isDeepStrictEqual(one, other))
    if (at >= 0) left.splice(at, 1)
    return at < 0
  })
}

function keysThatDiffer(a: object, b: object): string[] {
  const [one, other] = [a, b] as Record<string, unknown>[]
  const keys = new Set([...Object.keys(a), ...Object.keys(b)])
  return [...keys].filter(key => !isDeepStrictEqual(one?.[key], other?.[key]))
}

/** A field's name as the file has it: `trustedProxies` is `trusted_proxies`, `slowStartMs` is `slow_start`. */
const wireName = (key: string): string =>
  key.replace(/Ms$/, '').replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`)

const whole = (text: string): Change => ({ cluster: null, text })
const refusal = (path: string, reason: string): Refusal => ({ path, reason })
