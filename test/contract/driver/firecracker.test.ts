import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { systemClock } from '../../../lib/clock.ts'
import { createFirecrackerDriver } from '../../../lib/hypervisor/firecracker/driver.ts'
import { silentLog } from '../../../lib/log.ts'
import {
  doubleBinary,
  doubleDriver,
  doubleResources,
  doubleTemplate,
} from '../../support/firecracker-node.ts'
import { notHere } from '../../support/left-out.ts'
import { driverContract } from './suite.ts'

const programs = mkdtempSync(join(tmpdir(), 'tidegate-double-'))
t.teardown(() => rmSync(programs, { recursive: true, force: true }))
const binary = doubleBinary(programs)

driverContract('firecracker (its double)', {
  makeDriver: directory => doubleDriver(directory, binary),
  template: doubleTemplate,
  resources: doubleResources,
  port: 8080,
  timeoutMs: 60_000,
})

/** The real one, with namespaces of its own, where there is an image of the demo application for it and a KVM. */
const { FIRECRACKER_KERNEL: kernel, FIRECRACKER_INITRD: initrd } = process.env
if (kernel === undefined || initrd === undefined) {
  notHere(t, 'the real Firecracker: FIRECRACKER_KERNEL and FIRECRACKER_INITRD name no image for it')
} else {
  const resources = { cpus: 1, memoryBytes: 384 * 2 ** 20, diskBytes: 64 * 2 ** 20 }
  driverContract('firecracker', {
    makeDriver: directory =>
      createFirecrackerDriver(
        { id: 'local', driver: 'firecracker', zone: 'a', capacity: resources, directory, options: {} },
        { clock: systemClock, log: silentLog },
      ),
    template: { kernel, initrd },
    resources,
    port: 8080,
    timeoutMs: 120_000,
  })
}
