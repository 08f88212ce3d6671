import { systemClock } from '../../../lib/clock.ts'
import { createQemuDriver } from '../../../lib/hypervisor/qemu/driver.ts'
import { silentLog } from '../../../lib/log.ts'
import { vmImage } from '../../support/vm-image.ts'
import { driverContract } from './suite.ts'

const resources = { cpus: 1, memoryBytes: 384 * 2 ** 20, diskBytes: 64 * 2 ** 20 }

driverContract('qemu', {
  makeDriver: directory =>
    createQemuDriver(
      {
        id: 'local',
        driver: 'qemu',
        zone: 'a',
        capacity: resources,
        directory,
        options: { boot_timeout_ms: 600_000 },
      },
      { clock: systemClock, log: silentLog },
    ),
  template: { ...(await vmImage()), disk: true },
  disk: true,
  grows: true,
  resources,
  port: 8080,
  timeoutMs: 300_000,
})
