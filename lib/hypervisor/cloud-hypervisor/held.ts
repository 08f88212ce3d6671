/** This driver's records and processes as the driver interface's views of them. */
import type { Clock } from '../../clock.ts'
import type { HeldInstance, HeldSnapshot } from '../driver.ts'
import type { Found } from '../ownership.ts'
import { heldVm, heldVmSnapshot } from '../vm/held.ts'
import { instanceFacts, snapshotFacts } from './record.ts'
import { stateOf } from './vmm.ts'

export const heldInstance = (found: Found, clock: Clock): Promise<HeldInstance> =>
  heldVm(found, instanceFacts, directory => stateOf(directory, clock))

export const heldSnapshot = (found: Found): Promise<HeldSnapshot> => heldVmSnapshot(found, snapshotFacts)
