/** All exchanges of one event loop, and what they share. */
import type { Clock } from '../clock.ts'
import type { SessionSighting } from '../cluster/ports.ts'
import type { Log } from '../log.ts'
import type { Exchange } from './exchange.ts'
import type { Forwards } from './forward/forward.ts'
import type { InboundExtras } from './headers.ts'
import type { Mirrors } from './mirror.ts'
import type { Observer } from './observe/observer.ts'
import type { Picked } from './pick.ts'
import type { Overload } from './resilience/overload.ts'
import { Roster } from './roster.ts'
import type { RouteTable } from './route-table.ts'
import type { TrustedProxies } from './trusted-proxies.ts'
import type { Tunnels } from './tunnel.ts'
import type { Waking } from './waking.ts'

/** What the exchanges of one event loop share. */
export interface DataPlaneContext {
  /** The newest; an exchange asks once. */
  table(): RouteTable
  readonly forwards: Forwards
  readonly exchanges: Exchanges
  readonly tunnels: Tunnels
  readonly mirrors: Mirrors
  readonly overload: Overload
  readonly waking: Waking
  readonly observer: Observer
  readonly trustedProxies: TrustedProxies
  readonly debugHeaders: boolean
  noteSession(sighting: SessionSighting): void
  readonly clock: Clock
  /** 0 ≤ x < 1. */
  readonly random: () => number
  readonly log: Log
  /** True: answers end their connections. */
  stopping(): boolean
}

/** Fields by name and value, added to an answer of our own. */
export type Fields = readonly (readonly [string, string])[]

/** What our head adds to the answer of the picked member; who saw a session first tells of it. */
export function extrasOf({ member, setCookie, sighting }: Picked, context: DataPlaneContext): InboundExtras {
  if (sighting !== null) context.noteSession(sighting)
  return { setCookie, backend: context.debugHeaders ? member.id : null }
}

export class Exchanges {
  readonly #open = new Roster<Exchange>()

  get size(): number {
    return this.#open.size
  }

  /** Breaks what is under way on a member, on both sides. */
  cutMember(slot: number, epoch: number): void {
    for (const exchange of this.#open) exchange.cut(slot, epoch)
  }

  /** What is left at the end of the process is broken off. */
  stopAll(): void {
    // Those who wait go first: they would be sent in the places of the others.
    for (const unsent of [true, false]) for (const exchange of this.#open) exchange.stop(unsent)
  }

  add(exchange: Exchange): void {
    this.#open.add(exchange)
  }

  remove(exchange: Exchange): void {
    this.#open.remove(exchange)
  }
}
