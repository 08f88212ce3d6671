/** A driver under test with the double as its hypervisor, in a folder of its own. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { type Clock, systemClock } from '../../../lib/clock.ts'
import { createCloudHypervisorDriver } from '../../../lib/hypervisor/cloud-hypervisor/driver.ts'
import { type Log, silentLog } from '../../../lib/log.ts'
import { bootFiles } from '../boot-files.ts'
import { Bench } from '../driver-bench.ts'
import { doubleBinary, type Faults, loopbackNetwork } from './binary.ts'

const MiB = 2 ** 20

export interface BenchShape {
  readonly template?: Readonly<Record<string, unknown>>
  readonly memoryBytes?: number
  /** What is in the template's disk. */
  readonly disk?: string | Buffer
  readonly bootTimeoutMs?: number
  readonly clock?: Clock
  readonly log?: Log
}

export function doubleBench(t: Test, faults: Faults, shape: BenchShape = {}) {
  const home = mkdtempSync(join(tmpdir(), 'ch-bench-'))
  t.teardown(() => rmSync(home, { recursive: true, force: true }))
  const disk = join(home, 'data.raw')
  writeFileSync(disk, shape.disk ?? 'of the template')
  const { memoryBytes = 64 * MiB, clock = systemClock, log = silentLog, bootTimeoutMs } = shape
  const capacity = { cpus: 1, memoryBytes, diskBytes: 0 }
  const optionsOf = (binary: string) => ({
    binary,
    ...(bootTimeoutMs === undefined ? {} : { boot_timeout_ms: bootTimeoutMs }),
  })
  /** Over the same folder with another program, as after an upgrade. */
  const driverOf = (directory: string, binary: string) =>
    createCloudHypervisorDriver(
      { id: 'local', driver: 'cloud_hypervisor', zone: 'a', capacity, directory, options: optionsOf(binary) },
      { clock, log, network: loopbackNetwork },
    )
  const binary = doubleBinary(t, faults)
  const bench = new Bench(t, {
    makeDriver: directory => driverOf(directory, binary),
    template: { ...bootFiles(), disks: [{ path: disk }], ...shape.template },
    resources: capacity,
    port: 8080,
    timeoutMs: 60_000,
  })
  return { bench, binary, driverOf }
}
