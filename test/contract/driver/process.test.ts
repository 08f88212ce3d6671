import { join } from 'node:path'
import { systemClock } from '../../../lib/clock.ts'
import { createProcessDriver } from '../../../lib/hypervisor/process/driver.ts'
import { silentLog } from '../../../lib/log.ts'
import { driverContract } from './suite.ts'

const resources = { cpus: 1, memoryBytes: 64 * 2 ** 20, diskBytes: 64 * 2 ** 20 }

driverContract('process', {
  makeDriver: directory =>
    createProcessDriver(
      { id: 'local', driver: 'process', zone: 'a', capacity: resources, directory, options: {} },
      { clock: systemClock, log: silentLog },
    ),
  template: { command: ['node', join(import.meta.dirname, '../../../examples/app/server.ts')] },
  resources,
  port: 8080,
  timeoutMs: 30_000,
})
