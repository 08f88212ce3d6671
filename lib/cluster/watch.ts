/** Who is being checked: begins and ends the checks of each backend, and holds their results back while it is paused. */
import type { HealthConfig } from '../config/config.ts'
import type { Verdict } from './health.ts'
import { type ProbingDeps, startProbing } from './prober.ts'
import type { Tenant } from './tenant.ts'

interface Hold {
  readonly by: Set<string>
  /** Changes with every hold. */
  count: number
}

export class Watch {
  readonly #deps: ProbingDeps
  readonly #stops = new Map<Tenant, () => void>()
  readonly #holds = new WeakMap<Tenant, Hold>()
  #closed = false

  constructor(deps: ProbingDeps) {
    this.#deps = deps
  }

  /** `spread`: the first check falls somewhere within the first interval, so that those of a start do not come together. */
  begin(
    tenant: Tenant,
    health: HealthConfig,
    first: 'at once' | 'spread',
    report: (verdict: Verdict) => void,
  ): void {
    if (this.#closed) return
    this.end(tenant)
    const hold = this.#hold(tenant)
    const firstDelayMs =
      first === 'spread' && !tenant.facts.warming ? this.#deps.random() * health.intervalMs : 0
    const stop = startProbing(this.#deps, {
      target: tenant.spec,
      health,
      firstDelayMs,
      gate: () => (hold.by.size > 0 ? null : hold.count),
      report,
    })
    this.#stops.set(tenant, stop)
  }

  end(tenant: Tenant): void {
    this.#stops.get(tenant)?.()
    this.#stops.delete(tenant)
  }

  /** `by` names who holds: each lifts its own hold, and lifting one that is not there is harmless. */
  hold(tenant: Tenant, by: string, held: boolean): void {
    const hold = this.#hold(tenant)
    if (!held) return void hold.by.delete(by)
    hold.by.add(by)
    hold.count++
  }

  close(): void {
    this.#closed = true
    for (const stop of this.#stops.values()) stop()
    this.#stops.clear()
  }

  #hold(tenant: Tenant): Hold {
    const hold = this.#holds.get(tenant) ?? { by: new Set(), count: 0 }
    this.#holds.set(tenant, hold)
    return hold
  }
}
