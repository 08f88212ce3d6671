/**
 * On the double everywhere; on the real Cloud Hypervisor too where it is on the PATH, can boot a kernel, and network
 * namespaces can be had.
 */
import t from 'tap'
import { systemClock } from '../../../lib/clock.ts'
import { createCloudHypervisorDriver } from '../../../lib/hypervisor/cloud-hypervisor/driver.ts'
import { silentLog } from '../../../lib/log.ts'
import { bootFiles } from '../../support/boot-files.ts'
import { doubleBinary, loopbackNetwork } from '../../support/cloud-hypervisor/binary.ts'
import { realCloudHypervisor } from '../../support/cloud-hypervisor/real.ts'
import { notHere } from '../../support/left-out.ts'
import { driverContract } from './suite.ts'

const resources = { cpus: 1, memoryBytes: 64 * 2 ** 20, diskBytes: 0 }
const node = (directory: string, capacity = resources) =>
  ({ id: 'local', driver: 'cloud_hypervisor', zone: 'a', capacity, directory }) as const

const binary = doubleBinary(t)

driverContract('cloud_hypervisor (double)', {
  makeDriver: directory =>
    createCloudHypervisorDriver(
      { ...node(directory), options: { binary } },
      { clock: systemClock, log: silentLog, network: loopbackNetwork },
    ),
  template: bootFiles(),
  resources,
  port: 8080,
  timeoutMs: 30_000,
})

const real = await realCloudHypervisor()
if ('missing' in real) notHere(t, `the real Cloud Hypervisor: ${real.missing}`)
else {
  const larger = { ...resources, memoryBytes: 384 * 2 ** 20 }
  driverContract('cloud_hypervisor (real)', {
    makeDriver: directory =>
      createCloudHypervisorDriver(
        { ...node(directory, larger), options: {} },
        { clock: systemClock, log: silentLog },
      ),
    template: real.template,
    resources: larger,
    port: 8080,
    timeoutMs: 120_000,
  })
}
