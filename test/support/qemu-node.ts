/** A QEMU driver as a node has it, for tests: small VMs, and time for a machine that emulates them beside other work. */
import { systemClock } from '../../lib/clock.ts'
import type { Driver } from '../../lib/hypervisor/driver.ts'
import { createQemuDriver } from '../../lib/hypervisor/qemu/driver.ts'
import { silentLog } from '../../lib/log.ts'

export const qemuResources = { cpus: 1, memoryBytes: 384 * 2 ** 20, diskBytes: 64 * 2 ** 20 }

export function qemuDriver(directory: string): Driver {
  const options = { boot_timeout_ms: 600_000 }
  const node = {
    id: 'local',
    driver: 'qemu',
    zone: 'a',
    capacity: qemuResources,
    directory,
    options,
  } as const
  return createQemuDriver(node, { clock: systemClock, log: silentLog })
}
