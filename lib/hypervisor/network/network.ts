/**
 * The network of one instance, for every driver that runs machines: what must be there before the machine starts, how its
 * hypervisor is started in it, and where the guest's ports are reached from here. @pure
 *
 *   user        no right needed: the hypervisor forwards ports of 127.0.0.1 itself (QEMU's user-mode network)
 *   namespace   root: a network namespace for each instance with a TAP in it, an address of its own outside
 *
 * In both the guest is 10.0.2.15/24 behind 10.0.2.2, also in a clone, which believes to be its source: no guest has to be
 * told another address, and two guests with one address never meet.
 *
 * For a driver with TAPs (`openNamespaces(pool)` in namespace.ts gives a `Network`):
 *   1. claim the instance's directory (ownership.ts), so that whatever follows can be found again
 *   2. `const link = await network.attach({ directory, ports: [app, agent], outbound }, signal)`
 *   3. run `[...link.enter, hypervisor, ...args]`, with the interface `link.tap.name` and the guest's `link.tap.guestMac`
 *   4. the application is at `{ host: link.host, port: hostPort(link, app) }`; keep both in the record
 *   5. on destroy, and when anything failed: end the process, then `network.detach(directory)`, then remove the directory
 *   6. in `inspect`: `network.sweep(nodeDirectory)` takes away namespaces whose instance's directory is gone
 */
import type { Diagnosis } from '../driver.ts'

export const networkKinds = ['user', 'namespace'] as const
export type NetworkKind = (typeof networkKinds)[number]

/** The guest's side, the same in every instance. The gateway's hardware address is in a clone's memory: it must not change. */
export const guestNet = {
  address: '10.0.2.15',
  prefixLength: 24,
  gateway: '10.0.2.2',
  mac: '52:54:00:12:34:56',
  gatewayMac: '52:55:0a:00:02:02',
} as const

export interface AttachRequest {
  /** The instance's own directory: its name on this machine. */
  readonly directory: string
  /** Ports of the guest that must be reached from here; all others are closed. */
  readonly ports: readonly number[]
  /** Whether the guest may open connections. */
  readonly outbound: boolean
}

export interface Forward {
  readonly hostPort: number
  readonly guestPort: number
}

export interface Link {
  readonly kind: NetworkKind
  /** Where its ports are reached from here. */
  readonly host: string
  readonly forwards: readonly Forward[]
  /** Goes before the hypervisor's command line. */
  readonly enter: readonly string[]
  /** The interface that the hypervisor opens; null where it needs none. */
  readonly tap: { readonly name: string; readonly guestMac: string } | null
}

export interface Network {
  readonly kind: NetworkKind
  /** Can it be had here? Tries it. Throws nothing. */
  check(): Promise<readonly Diagnosis[]>
  /** Makes the network of an instance. Leaves nothing when it fails. Throws `network_unavailable`. */
  attach(request: AttachRequest, signal: AbortSignal): Promise<Link>
  /** Takes it away, for certain; what is already gone is a success. Nothing may run in it any more. */
  detach(directory: string): Promise<void>
  /** Takes away what belongs to the node's directory and to no instance in it. */
  sweep(nodeDirectory: string): Promise<void>
}

/** The host's port for a port of the guest. */
export function hostPort(link: Pick<Link, 'forwards'>, guestPort: number): number {
  return link.forwards.find(forward => forward.guestPort === guestPort)?.hostPort ?? guestPort
}
