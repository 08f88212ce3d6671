/**
 * Who is looked after, and how: begins and ends the checks of each backend, holds their results back while it is paused,
 * takes out who fails its exchanges, and counts how each cluster stands. It tells of what changes; who is a member is not
 * its business.
 */
import type { ConnectionOptions } from 'node:tls'
import type { Clock } from '../clock.ts'
import type { ClusterConfig } from '../config/config.ts'
import type { Events } from '../events.ts'
import type { Log } from '../log.ts'
import { type Crew, Ejector } from './ejector.ts'
import { observe } from './health.ts'
import { mostEndedWell } from './outlier.ts'
import { type Probe, type ProbeTarget, startProbing } from './prober.ts'
import { Poll } from './standing.ts'
import type { Tenant, TenantDeps } from './tenant.ts'

export interface WatchDeps {
  readonly clock: Clock
  readonly random: () => number
  readonly probe: Probe
  readonly events: Events
  readonly log: Log
  /** How checks of this cluster's backends speak TLS; null or absent: in the clear. Asked before each check. */
  readonly tls?: (config: ClusterConfig) => ConnectionOptions | null
  readonly clusters: () => Iterable<Pick<Crew, 'tenants'> & { readonly config: ClusterConfig }>
}

/**
 * When a backend is checked first. `spread`: somewhere within the first interval, so that those of a start do not come together. `asked`:
 * somebody has just asked it, so an interval later, as spread. Who is warming is checked at once, however it came.
 */
export type FirstCheck = 'at once' | 'spread' | 'asked'

interface Hold {
  readonly by: Set<string>
  /** Changes with every hold. */
  count: number
}

export class Watch {
  readonly #deps: WatchDeps
  readonly #stops = new Map<Tenant, () => void>()
  readonly #holds = new WeakMap<Tenant, Hold>()
  /** By cluster. */
  readonly #polls = new Map<string, Poll>()
  readonly #ejector: Ejector
  #closed = false

  constructor(deps: WatchDeps) {
    this.#deps = deps
    const { clock, random } = deps
    const crews = () =>
      [...deps.clusters()].map(({ config, tenants }) => ({ config, tenants, poll: this.poll(config) }))
    const held = (tenant: Tenant) => (this.#holds.get(tenant)?.by.size ?? 0) > 0
    this.#ejector = new Ejector({ clock, random, held, crews })
  }

  /** In which a cluster's backends are counted. */
  poll(config: ClusterConfig): Poll {
    const poll = this.#polls.get(config.id) ?? this.#newPoll(config)
    this.#polls.set(config.id, poll)
    return poll
  }

  /** The clusters have their configs now: at the start, and when they got others. */
  configured(): void {
    if (this.#closed) return
    for (const { config } of this.#deps.clusters()) {
      this.poll(config).setThresholds(config.health)
      if (config.outlier) this.#ejector.start()
    }
  }

  begin(config: ClusterConfig, tenant: Tenant, first: FirstCheck): void {
    if (this.#closed) return
    this.end(tenant)
    const { health } = config
    const { clock, random } = this.#deps
    const hold = this.#hold(tenant)
    let before = tenant.totals()
    const stop = startProbing(this.#deps, {
      target: () => this.target(config, tenant.spec),
      health,
      firstDelayMs: tenant.facts.warming ? 0 : delayOf(first, random) * health.intervalMs,
      gate: () => (hold.by.size > 0 ? null : hold.count),
      report: verdict => {
        const totals = tenant.totals()
        const serves = mostEndedWell(before, totals)
        before = totals
        tenant.setHealth(observe(tenant.health, { ...verdict, serves }, health, clock.now()))
        tenant.show(tenant.left() === 0 ? 'nothing is left on it' : 'clients are on it')
      },
    })
    this.#stops.set(tenant, stop)
  }

  end(tenant: Tenant): void {
    this.#stops.get(tenant)?.()
    this.#stops.delete(tenant)
  }

  /** What a check of a backend of this cluster at that address needs to know. */
  target(config: ClusterConfig, { host, port }: ProbeTarget): ProbeTarget {
    return { host, port, tls: this.#deps.tls?.(config) ?? null }
  }

  /** `by` names who holds: each lifts its own hold, and lifting one that is not there is harmless. */
  hold(tenant: Tenant, by: string, held: boolean): void {
    const hold = this.#hold(tenant)
    if (!held) return void hold.by.delete(by)
    hold.by.add(by)
    hold.count++
  }

  /** The operator says that it is well. */
  pardon(tenant: Tenant): void {
    this.#ejector.pardon(tenant)
  }

  readonly changed: TenantDeps['changed'] = ({ cluster, spec }, from, to, reason) => {
    this.#deps.events.publish({ type: 'backend_state', cluster, backend: spec.id, from, to, reason })
    this.#deps.log.info({ cluster, backend: spec.id, from, to, reason }, 'backend state')
  }

  readonly healthChanged: TenantDeps['healthChanged'] = ({ cluster, spec }, { from, to, reason }) => {
    this.#deps.events.publish({ type: 'backend_health', cluster, backend: spec.id, from, to, reason })
    this.#deps.log.info({ cluster, backend: spec.id, from, to, reason }, 'backend health')
  }

  close(): void {
    this.#closed = true
    this.#ejector.close()
    for (const stop of this.#stops.values()) stop()
    this.#stops.clear()
  }

  #newPoll({ id: cluster, health }: ClusterConfig): Poll {
    return new Poll(health, ({ panic }, { well, degraded, ill }) => {
      const backends = well + degraded + ill
      this.#deps.events.publish({ type: 'cluster_panic', cluster, panic, well, degraded, backends })
      const text = panic ? 'too few are well: health is ignored' : 'enough are well: health counts again'
      this.#deps.log.warn({ cluster, well, degraded, backends }, text)
    })
  }

  #hold(tenant: Tenant): Hold {
    const hold = this.#holds.get(tenant) ?? { by: new Set(), count: 0 }
    this.#holds.set(tenant, hold)
    return hold
  }
}

/** In intervals. */
function delayOf(first: FirstCheck, random: () => number): number {
  if (first === 'at once') return 0
  return first === 'spread' ? random() : 0.5 + random()
}
