/**
 * The network that needs no right: QEMU's own, with ports of 127.0.0.1 forwarded to the guest's. There is nothing to make;
 * ports are only found free, so a hypervisor that finds one taken attaches again and gets others.
 */
import type { Network } from './network.ts'
import { freePorts } from './ports.ts'

export function openUserNetwork(): Network {
  /** Found free by one and not yet taken: the next one of this process must not get it too. */
  const recent: number[] = []
  return {
    kind: 'user',
    check: async () => [],
    async attach({ ports }) {
      const found = await freePorts(ports.length, new Set(recent))
      recent.push(...found)
      recent.splice(0, recent.length - recentMax)
      const forwards = ports.map((guestPort, i) => ({ hostPort: found[i]!, guestPort }))
      return { kind: 'user', host: '127.0.0.1', forwards, enter: [], tap: null }
    },
    detach: async () => {},
    sweep: async () => {},
  }
}

const recentMax = 256
