/** The one deadline of what copies a VM's memory, in every driver. */
import t from 'tap'
import { memoryDeadlineMs } from '../../../../lib/hypervisor/vm/memory-deadline.ts'
import { copyMs, limits } from '../../../../lib/scaling/limits.ts'

const GiB = 2 ** 30

t.test('it grows with the memory, at the rate of a disk that is just fit for it', async t => {
  t.equal(memoryDeadlineMs(0), 60_000)
  t.equal(memoryDeadlineMs(GiB), 113_688)
  t.equal(memoryDeadlineMs(16 * GiB), 918_994)
  t.equal(memoryDeadlineMs(256 * GiB), 13_803_896)
  t.ok(Number.isInteger(memoryDeadlineMs(12_345)), 'whole milliseconds')
})

t.test('a driver gives nothing up before the operation that asked it would', async t => {
  for (const bytes of [0, GiB / 2, 64 * GiB]) {
    t.ok(memoryDeadlineMs(bytes) >= copyMs(limits.snapshotBaseMs, bytes), `a snapshot of ${bytes}`)
    t.ok(memoryDeadlineMs(bytes) >= copyMs(limits.cloneBaseMs, bytes), `a clone of ${bytes}`)
  }
})
