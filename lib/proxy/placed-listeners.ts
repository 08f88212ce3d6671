/** Which listeners are open, by numbers of their own, and which of them a new configuration keeps. @pure */
import { isDeepStrictEqual } from 'node:util'
import type { ListenerConfig } from '../config/config.ts'
import type { PlacedListener } from './messages.ts'

export interface Placed {
  readonly id: number
  /** Of the listening socket: who takes another's place has the same. */
  readonly door: number
  /** As the configuration says. */
  readonly configured: ListenerConfig
  /** The same with its real port, where the configuration said 0. */
  readonly real: ListenerConfig
}

/**
 * Those that the configuration names already keep their number. The others get the next ones; who has the address of one that it
 * does not name any more has its door too. In its order.
 */
export function place(held: readonly Placed[], wanted: readonly ListenerConfig[]): readonly Placed[] {
  const left = [...held]
  const take = (suits: (one: Placed) => boolean): Placed | null => {
    const at = left.findIndex(suits)
    return at < 0 ? null : left.splice(at, 1)[0]!
  }
  let next = Math.max(-1, ...held.map(({ id }) => id)) + 1
  const kept = wanted.map(config => take(({ configured }) => isDeepStrictEqual(configured, config)))
  return wanted.map((config, i): Placed => {
    if (kept[i]) return kept[i]
    const former = take(
      ({ configured }) => configured.host === config.host && configured.port === config.port,
    )
    const id = next++
    if (former === null) return { id, door: id, configured: config, real: config }
    const { host, port } = former.real
    return { id, door: former.door, configured: config, real: { ...config, host, port } }
  })
}

export const asPlaced = ({ id, door, real }: Placed): PlacedListener => ({ id, door, config: real })

/** With the real addresses that a thread has told, in the same order. */
export const settled = (placed: readonly Placed[], real: readonly ListenerConfig[]): readonly Placed[] =>
  placed.map((one, i) => ({ ...one, real: real[i] ?? one.real }))
