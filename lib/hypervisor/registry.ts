/** Which drivers there are: the one map from the config's `driver` to what makes it. */
import type { Clock } from '../clock.ts'
import type { DriverKind, NodeConfig } from '../config/config.ts'
import type { Log } from '../log.ts'
import { createCloudHypervisorDriver } from './cloud-hypervisor/driver.ts'
import type { Driver } from './driver.ts'
import { createFirecrackerDriver } from './firecracker/driver.ts'
import { createProcessDriver } from './process/driver.ts'
import { createQemuDriver } from './qemu/driver.ts'

export interface DriverDeps {
  readonly clock: Clock
  readonly log: Log
}

export type DriverFactory = (node: NodeConfig, deps: DriverDeps) => Driver

const factories = {
  process: createProcessDriver,
  qemu: createQemuDriver,
  cloud_hypervisor: createCloudHypervisorDriver,
  firecracker: createFirecrackerDriver,
} as const satisfies Record<DriverKind, DriverFactory>

/** Throws `invalid_config` when the node's options are not the driver's. Touches nothing yet. */
export function createDriver(node: NodeConfig, deps: DriverDeps): Driver {
  return factories[node.driver](node, deps)
}
