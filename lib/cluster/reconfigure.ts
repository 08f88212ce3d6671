/**
 * A new configuration taken into a membership that serves. What becomes of each backend:
 *
 *   the file named it …   and names it now …      it
 *   no                    yes                     joins, and warms up if anybody else serves meanwhile
 *   yes                   yes, same address       stays: slot, epoch, incarnation, sessions and counters with it
 *   yes                   yes, another address    is another backend: the former life is out with this generation
 *   yes                   no                      stays in the table to be drained with `leave`, then is out
 *   no (API, instance)    no                      is not the file's business
 */
import { isDeepStrictEqual } from 'node:util'
import type { ClusterConfig, StaticBackendConfig } from '../config/config.ts'
import type { DrainPolicy, NewBackend } from './backend.ts'
import type { Generations } from './generations.ts'
import { staticIncarnation } from './incarnation.ts'
import { type Cluster, undoOf } from './membership.ts'
import type { Tenant } from './tenant.ts'
import type { FirstCheck } from './watch.ts'

export interface BackendRef {
  readonly cluster: string
  readonly backend: string
}

export interface Reconfigured {
  readonly joined: readonly BackendRef[]
  /** Still in the table: to be drained with `leave`. */
  readonly leaving: readonly BackendRef[]
  /** Out of the table: to be seen out with `seeOut`. */
  readonly departed: readonly BackendRef[]
}

/** What it needs of `Clusters`, whose membership it changes. */
export interface MembershipAccess {
  readonly generations: Generations
  clusters(): ReadonlyMap<string, Cluster>
  hold(clusters: ReadonlyMap<string, Cluster>): void
  /** Throws `no_capacity`. */
  admit(config: ClusterConfig, backend: NewBackend): Tenant
  letGo(tenant: Tenant, why: string): void
  probe(cluster: Cluster, tenant: Tenant, first: FirstCheck): void
}

interface Plan {
  readonly cluster: Cluster
  readonly joined: readonly Tenant[]
  readonly leaving: readonly Tenant[]
  /** Former lives at other addresses. */
  readonly moved: readonly Tenant[]
  readonly stayed: readonly { readonly tenant: Tenant; readonly spec: NewBackend }[]
}

const why = 'the configuration does not name it any more'

/** Rejects with everything as it was: `no_capacity`, or the cause when the data plane does not take the table. */
export function reconfigure(
  access: MembershipAccess,
  configs: readonly ClusterConfig[],
): Promise<Reconfigured> {
  return access.generations.inTurn(async () => {
    const before = access.clusters()
    const admitted: Tenant[] = []
    const admit = (config: ClusterConfig) => (backend: NewBackend) => {
      const tenant = access.admit(config, backend)
      admitted.push(tenant)
      tenant.opened()
      return tenant
    }
    try {
      const plans = configs.map(config => planFor(before.get(config.id) ?? null, config, admit(config)))
      await publish(access, before, plans)
      return settle(access, before, plans)
    } catch (error) {
      for (const tenant of admitted) access.letGo(tenant, 'the configuration was not taken')
      throw error
    }
  })
}

/**
 * Drains a backend that the configuration does not name any more and takes it out, in a generation of its own. Rejects with the
 * signal's reason, with the fence still up: the caller lifts it if the backend is to stay.
 */
export async function leave(
  access: MembershipAccess,
  tenant: Tenant,
  policy: DrainPolicy,
  signal: AbortSignal,
): Promise<void> {
  tenant.set({ fenced: true }, why)
  await tenant.drain(policy, true, signal)
  await access.generations.inTurn(async () => {
    signal.throwIfAborted()
    const owner = access.clusters().get(tenant.cluster)
    if (owner?.tenants.get(tenant.spec.id) !== tenant) return
    const undo = undoOf(owner)
    owner.tenants.delete(tenant.spec.id)
    await access.generations.publishOr(undo)
    access.letGo(tenant, why)
  })
}

function planFor(
  before: Cluster | null,
  config: ClusterConfig,
  admit: (backend: NewBackend) => Tenant,
): Plan {
  const wanted = new Map(config.backends.map(backend => [backend.id, backend]))
  const formerly = new Set(before?.config.backends.map(({ id }) => id))
  const held = [...(before?.tenants.values() ?? [])]
  const unnamed = held.filter(({ spec }) => !wanted.has(spec.id))
  const stayed = new Map<string, { readonly tenant: Tenant; readonly spec: NewBackend }>()
  for (const tenant of held) {
    const backend = wanted.get(tenant.spec.id)
    if (backend && samePlace(tenant, backend))
      stayed.set(backend.id, { tenant, spec: shared(tenant.spec, { ...tenant.spec, ...backend }) })
  }
  const moved = held.filter(({ spec }) => wanted.has(spec.id) && !stayed.has(spec.id))
  const staying = [...stayed.values()].map(({ tenant }) => tenant)
  // Believed without a check where nobody else could serve meanwhile: a reload begins with no outage.
  const verified = ![...unnamed, ...staying].some(tenant => tenant.serves())
  const joined = config.backends
    .filter(({ id }) => !stayed.has(id))
    .map(backend => {
      const mark = before?.tenants.get(backend.id)?.facts.mark ?? null
      const incarnation = staticIncarnation(config.id, backend.id, backend.host, backend.port)
      return admit({ ...backend, incarnation, instance: null, verified, mark })
    })
  const tenants = new Map([...unnamed, ...staying, ...joined].map(tenant => [tenant.spec.id, tenant]))
  const leaving = unnamed.filter(({ spec }) => formerly.has(spec.id))
  const shares = before ? sharing(before.config, config) : config
  const cluster = {
    config: shares,
    policy: config.scaling,
    tenants,
    lost: before?.lost,
    guarded: before?.guarded,
  }
  return { cluster, joined, leaving, moved, stayed: [...stayed.values()] }
}

const samePlace = ({ spec }: Tenant, { host, port }: StaticBackendConfig): boolean =>
  spec.host === host && spec.port === port

/** The former value where the new one says the same: what is the same object is known to have changed nothing. */
const shared = <T>(before: T, after: T): T => (isDeepStrictEqual(before, after) ? before : after)

function sharing(before: ClusterConfig, after: ClusterConfig): ClusterConfig {
  if (isDeepStrictEqual(before, after)) return before
  const [one, other] = [before, after] as unknown as Record<string, unknown>[]
  const keys = Object.keys(after)
  return Object.fromEntries(
    keys.map(key => [key, shared(one![key], other![key])]),
  ) as unknown as ClusterConfig
}

async function publish(
  access: MembershipAccess,
  before: ReadonlyMap<string, Cluster>,
  plans: readonly Plan[],
): Promise<void> {
  const stayed = plans.flatMap(plan => plan.stayed)
  const former = stayed.map(({ tenant }) => tenant.spec)
  for (const { tenant, spec } of stayed) tenant.spec = spec
  access.hold(new Map(plans.map(({ cluster }) => [cluster.config.id, cluster])))
  await access.generations.publishOr(() => {
    access.hold(before)
    stayed.forEach(({ tenant }, i) => {
      tenant.spec = former[i]!
    })
  })
}

/** The table is out: who is not in it closes, checks begin and go on by the new settings. Health that is known stays known. */
function settle(
  access: MembershipAccess,
  before: ReadonlyMap<string, Cluster>,
  plans: readonly Plan[],
): Reconfigured {
  const now = access.clusters()
  const removed = [...before.values()].filter(({ config }) => !now.has(config.id))
  const departed = [
    ...plans.flatMap(plan => plan.moved),
    ...removed.flatMap(({ tenants }) => [...tenants.values()]),
  ]
  for (const tenant of departed) access.letGo(tenant, why)
  for (const { cluster, joined } of plans) {
    const { config } = cluster
    const former = before.get(config.id)?.config
    // Checks speak TLS as the cluster's exchanges do.
    const otherChecks = former?.health !== config.health || former.tls !== config.tls
    for (const tenant of cluster.tenants.values()) {
      tenant.countsSessions = config.affinity.method === 'cookie'
      if (joined.includes(tenant)) tenant.show('the configuration names it')
      if (joined.includes(tenant)) access.probe(cluster, tenant, 'at once')
      else if (otherChecks) access.probe(cluster, tenant, 'spread')
    }
  }
  return {
    joined: plans.flatMap(plan => plan.joined).map(refOf),
    leaving: plans.flatMap(plan => plan.leaving).map(refOf),
    departed: departed.map(refOf),
  }
}

const refOf = ({ cluster, spec }: Tenant): BackendRef => ({ cluster, backend: spec.id })
