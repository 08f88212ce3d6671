/**
 * Those that are out of every thread's table and may still have something in flight. Each leaves its slot to the next
 * tenant when it shows nothing: when somebody waited for that, or when somebody looked.
 */
import type { Clock } from '../clock.ts'
import type { DrainPolicy, DrainProof } from './backend.ts'
import { cutOut } from './drain.ts'
import type { Tenant } from './tenant.ts'

export class Departed {
  readonly #clock: Clock
  /** Called once for each, when nothing is to be expected of it any more. */
  readonly #gone: (tenant: Tenant) => void
  /** By `cluster/id`: an id may have left several times. */
  readonly #tenants = new Map<string, readonly Tenant[]>()

  constructor(clock: Clock, gone: (tenant: Tenant) => void) {
    this.#clock = clock
    this.#gone = gone
  }

  /** Takes in a closed tenant. */
  add(tenant: Tenant): void {
    const { name } = tenant
    this.#tenants.set(name, [...(this.#tenants.get(name) ?? []), tenant])
  }

  newest(name: string): Tenant | undefined {
    return this.#tenants.get(name)?.at(-1)
  }

  /** Resolves when all of that name show nothing in flight, cutting what does at the timeout. Null: none was there. */
  async wait(name: string, timeoutMs: number): Promise<DrainProof | null> {
    let proof: DrainProof | null = null
    for (const tenant of this.#tenants.get(name) ?? []) {
      const outcome = await cutOut(tenant.leaving(true), timeoutMs, this.#clock)
      const { waitedMs, deadlineReached } = outcome
      proof = { ...tenant.proof(), waited_ms: waitedMs, deadline_reached: deadlineReached }
      this.#forget(tenant)
    }
    return proof
  }

  /** Sees out all of that name by the policy, as far as a closed door lets: bound clients are elsewhere already. */
  async seeOut(name: string, policy: DrainPolicy): Promise<void> {
    const tenants = this.#tenants.get(name) ?? []
    await Promise.all(
      tenants.map(async tenant => {
        await tenant.drain(policy, true)
        this.#forget(tenant)
      }),
    )
  }

  /** Lets those go that nobody waits for: closed and empty, they will not be entered again. */
  sweep(): void {
    for (const tenants of this.#tenants.values())
      for (const tenant of tenants) if (tenant.left() === 0) this.#forget(tenant)
  }

  #forget(tenant: Tenant): void {
    const held = this.#tenants.get(tenant.name) ?? []
    const rest = held.filter(other => other !== tenant)
    if (rest.length === held.length) return
    if (rest.length > 0) this.#tenants.set(tenant.name, rest)
    else this.#tenants.delete(tenant.name)
    this.#gone(tenant)
  }
}

/** Of one that was forgotten: its proof. `sessions` null: they are not counted. */
export function nothingLeft(sessions: number | null): DrainProof {
  const ended = { deadline_at: null, waited_ms: 0, deadline_reached: false }
  return { drained: true, in_flight: 0, tunnels: 0, sessions, ...ended }
}
