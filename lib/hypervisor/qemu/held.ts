/** This driver's records and processes as the driver interface's views of them. */
import type { Clock } from '../../clock.ts'
import type { HeldInstance, HeldSnapshot, InstanceState } from '../driver.ts'
import type { Found } from '../ownership.ts'
import { heldVm, heldVmSnapshot } from '../vm/held.ts'
import { instanceFacts, snapshotFacts } from './record.ts'
import { openWatch } from './vm.ts'

const watchTimeoutMs = 2_000

export const heldInstance = (found: Found, clock: Clock): Promise<HeldInstance> =>
  heldVm(found, instanceFacts, directory => askState(directory, clock))

export const heldSnapshot = (found: Found): Promise<HeldSnapshot> => heldVmSnapshot(found, snapshotFacts)

async function askState(directory: string, clock: Clock): Promise<InstanceState> {
  try {
    const monitor = await openWatch(directory, clock, watchTimeoutMs)
    try {
      const limits = { timeoutMs: watchTimeoutMs }
      const { status } = (await monitor.execute('query-status', {}, limits)) as { status: string }
      return status === 'running' ? 'running' : 'paused'
    } finally {
      monitor.close()
    }
  } catch {
    return 'unknown'
  }
}
