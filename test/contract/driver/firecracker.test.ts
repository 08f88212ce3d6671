/** On the double everywhere; on the real Firecracker too where it is on the PATH, can boot a kernel, and network namespaces can be had. */
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
import { realFirecracker } from '../../support/firecracker-real.ts'
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

const real = await realFirecracker()
if ('missing' in real) notHere(t, `the real Firecracker: ${real.missing}`)
else {
  const resources = { cpus: 1, memoryBytes: 384 * 2 ** 20, diskBytes: 64 * 2 ** 20 }
  driverContract('firecracker (real)', {
    makeDriver: directory =>
      createFirecrackerDriver(
        { id: 'local', driver: 'firecracker', zone: 'a', capacity: resources, directory, options: {} },
        { clock: systemClock, log: silentLog },
      ),
    template: real.template,
    resources,
    port: 8080,
    timeoutMs: 120_000,
  })
}
