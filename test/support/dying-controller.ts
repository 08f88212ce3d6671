/**
 * A controller that saves an instance and does not live to see it done: `dying-controller.ts DRIVER DIRECTORY BINARY SOURCE SNAPSHOT`.
 * Whoever starts it kills it.
 */
import { systemClock } from '../../lib/clock.ts'
import { createCloudHypervisorDriver } from '../../lib/hypervisor/cloud-hypervisor/driver.ts'
import { silentLog } from '../../lib/log.ts'
import { loopbackNetwork } from './cloud-hypervisor/binary.ts'
import { owner } from './driver-bench.ts'
import { doubleDriver, doubleResources } from './firecracker-node.ts'

const [kind, directory = '', binary = '', source = '', name = ''] = process.argv.slice(2)
const node = { id: 'local', zone: 'a', capacity: doubleResources, directory, options: { binary } } as const
const driver =
  kind === 'firecracker'
    ? doubleDriver(directory, binary)
    : createCloudHypervisorDriver(
        { ...node, driver: 'cloud_hypervisor' },
        { clock: systemClock, log: silentLog, network: loopbackNetwork },
      )
await driver.snapshot({ name, owner, source }, AbortSignal.timeout(120_000))
