/**
 * Looks again and again at what the data plane counted, ejects who fails and takes them back. The rules are `outlier.ts`.
 * What the checks say is left aside: a backend whose checks pass and whose exchanges fail is exactly who is looked for.
 */
import type { Clock } from '../clock.ts'
import type { ClusterConfig, OutlierConfig } from '../config/config.ts'
import { voteOf } from './eligibility.ts'
import {
  clean,
  ejected,
  type Finding,
  findingOf,
  looked,
  mayLeave,
  noTraffic,
  takenBack,
  type Watched,
} from './outlier.ts'
import type { Poll } from './standing.ts'
import type { Tenant } from './tenant.ts'

const lookMs = 250

export interface Crew {
  readonly config: Pick<ClusterConfig, 'outlier' | 'affinity'>
  readonly tenants: ReadonlyMap<string, Tenant>
  readonly poll: Poll
}

export interface EjectorDeps {
  readonly clock: Clock
  readonly random: () => number
  /** What happens to it now is our doing. */
  readonly held: (tenant: Tenant) => boolean
  /** The clusters of now. */
  readonly crews: () => Iterable<Crew>
}

interface Known {
  watched: Watched
  /** `bad` of its tenant at the last look. */
  bad: number
}

/** One look at one cluster. */
interface Round {
  readonly crew: Crew
  readonly rules: OutlierConfig
  readonly nowMs: number
  /** How many are ejected; null: not counted yet. */
  out: number | null
}

export class Ejector {
  readonly #deps: EjectorDeps
  readonly #known = new WeakMap<Tenant, Known>()
  #stop: (() => void) | null = null

  constructor(deps: EjectorDeps) {
    this.#deps = deps
  }

  start(): void {
    this.#stop ??= this.#deps.clock.every(lookMs, () => this.#look())
  }

  close(): void {
    this.#stop?.()
    this.#stop = null
  }

  /** Somebody says that it is well: it is taken back and nothing is held against it. */
  pardon(tenant: Tenant): void {
    const watched = clean(tenant.traffic(), this.#deps.clock.monotonic())
    this.#known.set(tenant, { watched, bad: tenant.bad() })
    if (tenant.ejection) tenant.eject(null)
  }

  #look(): void {
    const nowMs = this.#deps.clock.monotonic()
    for (const crew of this.#deps.crews()) {
      const { outlier: rules } = crew.config
      const round: Round | null = rules && { crew, rules, nowMs, out: null }
      for (const tenant of crew.tenants.values())
        if (round) this.#lookAt(tenant, round)
        else if (tenant.ejection) this.pardon(tenant)
    }
  }

  /** Most have not failed since the last look: they cost no more than finding that out. */
  #lookAt(tenant: Tenant, round: Round): void {
    const { rules, nowMs } = round
    const bad = tenant.bad()
    const known = this.#known.get(tenant) ?? this.#first(tenant, round)
    const { watched } = known
    if (watched.untilMs !== null) {
      if (nowMs < watched.untilMs) return
      known.watched = takenBack(watched, tenant.traffic(), nowMs)
      tenant.eject(null)
    } else if (bad !== known.bad) known.watched = this.#judged(tenant, watched, round)
    else if (nowMs - watched.sinceMs >= rules.intervalMs)
      known.watched = looked(watched, tenant.traffic(), rules, nowMs)
    known.bad = bad
  }

  /** Intervals begin at different times, so that they do not all end in the same look. */
  #first(tenant: Tenant, { rules, nowMs }: Round): Known {
    const known = { watched: clean(noTraffic, nowMs - this.#deps.random() * rules.intervalMs), bad: 0 }
    this.#known.set(tenant, known)
    return known
  }

  #judged(tenant: Tenant, watched: Watched, round: Round): Watched {
    const { rules, nowMs, crew } = round
    const traffic = tenant.traffic()
    if (this.#deps.held(tenant)) return takenBack(watched, traffic, nowMs)
    const finding = findingOf(watched, traffic, rules)
    if (finding === null || !this.#mayLeave(tenant, round)) return looked(watched, traffic, rules, nowMs)
    const out = ejected(watched, rules, nowMs, this.#deps.random())
    this.#eject(tenant, crew, finding, out.untilMs! - nowMs)
    round.out!++
    return out
  }

  /** Those out of rotation are left alone, and so are the last ones in it. */
  #mayLeave(tenant: Tenant, round: Round): boolean {
    const { tenants, poll } = round.crew
    const vote = voteOf(tenant.facts)
    if (vote === null || vote === 'ill') return false
    const { well, degraded, ill } = poll.count
    round.out ??= [...tenants.values()].filter(({ ejection }) => ejection !== null).length
    return mayLeave(well + degraded + ill, round.out, well + degraded - 1, round.rules)
  }

  /**
   * Who answers with errors may still hold the sessions of those who are bound to it by a cookie; who does not answer holds
   * nothing. Bound by a hash, nearly every client is bound to somebody: to leave them would be to eject nobody.
   */
  #eject(tenant: Tenant, { config }: Crew, { reason, answers }: Finding, forMs: number): void {
    const from = answers && config.affinity.method === 'cookie' ? 'new' : 'all'
    const sinceMs = this.#deps.clock.now()
    tenant.eject({
      from,
      reason: `ejected for ${Math.round(forMs / 100) / 10}s: ${reason}`,
      sinceMs,
      untilMs: sinceMs + forMs,
    })
  }
}
