/** Drops the snapshots that served only this operation. One that cannot be dropped now is collected later: the work is done. */

import { within } from '../deadline.ts'
import { type AllocateData, doneData, intentOf, type PrepareIntent } from '../facts.ts'
import { limits } from '../limits.ts'
import type { Step } from '../step.ts'
import { destroyAll } from '../teardown.ts'

/** Well within the step's own deadline. */
const dropMs = 30_000

export const finalize: Step = {
  name: 'finalize',
  timeoutMs: () => limits.revertMs,
  async run({ world, operation, journal }, _intent, signal) {
    const prepared = intentOf<PrepareIntent>(journal, 'prepare') !== null
    const snapshots = prepared ? doneData<AllocateData>(journal, 'allocate').snapshots : []
    try {
      const drop = () => destroyAll(world, snapshots)
      const dropped = await within(world.clock, dropMs, 'dropping snapshots', [signal], drop)
      return { data: { dropped, left: [] } }
    } catch (error) {
      world.log.warn({ operation: operation.id, err: error }, 'snapshots are left for later')
      return { data: { dropped: [], left: snapshots.map(snapshot => snapshot.name) } }
    }
  },
}
