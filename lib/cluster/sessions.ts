/**
 * The ledger of live sessions: who is bound to which tenancy, as far as the data plane has told. @pure
 *
 * A session is counted where it was seen last, until its cookie's life ends. The ledger is bounded: a backend with more
 * sessions than that shows the bound, which is then a floor. It decides nothing and holds no drain up.
 */
import type { SessionSighting } from './ports.ts'

export const sessionsPerBackendMax = 100_000

interface Holder {
  /** Session → end of its life, wall clock in milliseconds. */
  readonly expiresAtMs: Map<string, number>
  /** No session ends before this: until then there is nothing to evict. */
  firstExpiryMs: number
}

export class SessionLedger {
  readonly #limit: number
  readonly #holders = new Map<string, Holder>()
  readonly #holderOf = new Map<string, Holder>()

  constructor(limit = sessionsPerBackendMax) {
    this.#limit = limit
  }

  /** Begins to count for a tenancy; sightings of unknown ones are dropped. */
  open(slot: number, epoch: number): void {
    this.#holders.set(`${slot}:${epoch}`, { expiresAtMs: new Map(), firstExpiryMs: Number.POSITIVE_INFINITY })
  }

  close(slot: number, epoch: number): void {
    const holder = this.#holders.get(`${slot}:${epoch}`)
    if (!holder) return
    for (const session of holder.expiresAtMs.keys()) this.#holderOf.delete(session)
    this.#holders.delete(`${slot}:${epoch}`)
  }

  note({ slot, epoch, session, expiresAtMs }: SessionSighting, nowMs: number): void {
    const holder = this.#holders.get(`${slot}:${epoch}`)
    if (!holder || expiresAtMs <= nowMs) return
    const before = this.#holderOf.get(session)
    if (before && before !== holder) before.expiresAtMs.delete(session)
    const known = holder.expiresAtMs.get(session)
    if (known === undefined && holder.expiresAtMs.size >= this.#limit) {
      this.#evictExpired(holder, nowMs)
      if (holder.expiresAtMs.size >= this.#limit) {
        this.#holderOf.delete(session)
        return
      }
    }
    holder.expiresAtMs.set(session, Math.max(known ?? 0, expiresAtMs))
    holder.firstExpiryMs = Math.min(holder.firstExpiryMs, expiresAtMs)
    this.#holderOf.set(session, holder)
  }

  /** Sessions whose life has not ended. */
  count(slot: number, epoch: number, nowMs: number): number {
    const holder = this.#holders.get(`${slot}:${epoch}`)
    if (!holder) return 0
    this.#evictExpired(holder, nowMs)
    return holder.expiresAtMs.size
  }

  #evictExpired(holder: Holder, nowMs: number): void {
    if (nowMs < holder.firstExpiryMs) return
    holder.firstExpiryMs = Number.POSITIVE_INFINITY
    for (const [session, expiresAtMs] of holder.expiresAtMs) {
      if (expiresAtMs > nowMs) {
        holder.firstExpiryMs = Math.min(holder.firstExpiryMs, expiresAtMs)
        continue
      }
      holder.expiresAtMs.delete(session)
      this.#holderOf.delete(session)
    }
  }
}
