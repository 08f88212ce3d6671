import t from 'tap'
import type { Machine } from '../../../../lib/hypervisor/firecracker/calls.ts'
import { planResize } from '../../../../lib/hypervisor/firecracker/resize.ts'

const machine: Machine = {
  ...{ cpus: 1, bootMib: 256, memoryMib: 256, hotplugMib: 256, balloon: true, disk: 'none', diskBytes: 0 },
}
const wanted = (mebibytes: number) => ({ cpus: 1, memoryBytes: mebibytes * 2 ** 20, diskBytes: 0 })

t.test('memory is plugged above what it booted with, and given up below', async t => {
  t.strictSame(planResize(machine, wanted(512)), { memoryMib: 512, pluggedMib: 256, balloonMib: 0 })
  t.strictSame(
    planResize(machine, wanted(257)),
    { memoryMib: 258, pluggedMib: 2, balloonMib: 0 },
    'whole blocks',
  )
  t.strictSame(planResize(machine, wanted(200)), { memoryMib: 200, pluggedMib: 0, balloonMib: 56 })
})

t.test('what cannot be is refused, with what would make it possible', async t => {
  const refused = (over: Partial<Machine>, resources: object, message: RegExp) =>
    t.throws(() => planResize({ ...machine, ...over }, { ...wanted(256), ...resources }), {
      code: 'resize_unsupported',
      message,
    })
  refused({}, { cpus: 2 }, /CPUs/)
  refused({}, { diskBytes: 1 }, /disk/)
  refused({}, wanted(513), /memory_max/)
  refused({ balloon: false }, wanted(255), /template\.balloon/)
})
