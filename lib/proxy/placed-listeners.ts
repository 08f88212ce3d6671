/** Which listeners are open, by numbers of their own, and which of them a new configuration keeps. @pure */
import { isDeepStrictEqual } from 'node:util'
import type { ListenerConfig } from '../config/config.ts'
import type { PlacedListener } from './messages.ts'

export interface Placed {
  readonly id: number
  /** As the configuration says. */
  readonly configured: ListenerConfig
  /** The same with its real port, where the configuration said 0. */
  readonly real: ListenerConfig
}

/** Those that the configuration names already keep their number; the others get the next ones. In its order. */
export function place(held: readonly Placed[], wanted: readonly ListenerConfig[]): readonly Placed[] {
  const left = [...held]
  let next = Math.max(-1, ...held.map(({ id }) => id)) + 1
  return wanted.map(config => {
    const at = left.findIndex(({ configured }) => isDeepStrictEqual(configured, config))
    const [kept] = at < 0 ? [] : left.splice(at, 1)
    return kept ?? { id: next++, configured: config, real: config }
  })
}

export const asPlaced = ({ id, real }: Placed): PlacedListener => ({ id, config: real })

/** With the real addresses that a thread has told, in the same order. */
export const settled = (placed: readonly Placed[], real: readonly ListenerConfig[]): readonly Placed[] =>
  placed.map((one, i) => ({ ...one, real: real[i] ?? one.real }))
