/**
 * This driver's records and processes as the driver interface's views of them. A Firecracker that writes a snapshot answers nothing:
 * `unknown`.
 */
import type { Clock } from '../../clock.ts'
import type { HeldInstance, HeldSnapshot, InstanceState } from '../driver.ts'
import type { Found } from '../ownership.ts'
import { heldVm, heldVmSnapshot } from '../vm/held.ts'
import { FirecrackerApi } from './api.ts'
import { instanceFacts, snapshotFacts } from './record.ts'

const askTimeoutMs = 2_000

export const heldInstance = (found: Found, clock: Clock): Promise<HeldInstance> =>
  heldVm(found, instanceFacts, directory => askState(directory, found.name, clock))

export const heldSnapshot = (found: Found): Promise<HeldSnapshot> => heldVmSnapshot(found, snapshotFacts)

async function askState(directory: string, name: string, clock: Clock): Promise<InstanceState> {
  try {
    const { id, state } = await new FirecrackerApi(directory, clock).info({ timeoutMs: askTimeoutMs })
    if (id !== name) return 'unknown'
    // One that its maker left before its start holds nothing that runs.
    return state === 'Running' ? 'running' : 'paused'
  } catch {
    return 'unknown'
  }
}
