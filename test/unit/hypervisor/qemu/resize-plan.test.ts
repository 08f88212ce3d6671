/** What a resize would do, and the refusals that come before anything is done. */
import t from 'tap'
import { type Machine, nothingAdded } from '../../../../lib/hypervisor/qemu/machine.ts'
import { planResize } from '../../../../lib/hypervisor/qemu/resize-plan.ts'

const MiB = 2 ** 20
const machine: Machine = {
  kind: 'pc',
  accelerator: 'tcg',
  cpus: 1,
  cpusMax: 4,
  memoryBytes: 384 * MiB,
  memoryMaxBytes: 1024 * MiB,
  outbound: false,
  added: nothingAdded,
  diskBytes: 64 * MiB,
}
const want = (cpus: number, memory: number, disk = 64) => ({
  cpus,
  memoryBytes: memory * MiB,
  diskBytes: disk * MiB,
})
const plan = (wanted: ReturnType<typeof want>, now = nothingAdded) =>
  planResize('web-1', machine, now, wanted, 64 * MiB)

t.test('what is so already needs nothing', async t => {
  t.match(plan(want(1, 384)), { cpus: 1, addCpus: 0, addMemoryBytes: 0, keepDimms: 0, diskBytes: null })
})

t.test('growing, in whole modules', async t => {
  t.match(plan(want(3, 400, 128)), {
    addCpus: 2,
    addMemoryBytes: 128 * MiB,
    diskBytes: 128 * MiB,
    result: { cpus: 3, memoryBytes: 512 * MiB, diskBytes: 128 * MiB },
  })
  const now = { cpus: 2, dimmBytes: [128 * MiB] }
  t.match(plan(want(4, 640), now), { addCpus: 1, addMemoryBytes: 128 * MiB, keepDimms: 1 })
})

t.test('shrinking: processors stay plugged, modules leave from the last', async t => {
  const now = { cpus: 2, dimmBytes: [128 * MiB, 256 * MiB] }
  t.match(plan(want(1, 512), now), { cpus: 1, addCpus: 0, addMemoryBytes: 0, keepDimms: 1 })
  t.match(plan(want(1, 384), now), { keepDimms: 0, result: { memoryBytes: 384 * MiB } })
})

t.test('what cannot be is refused by name', async t => {
  const refusals: [ReturnType<typeof want>, RegExp][] = [
    [want(5, 384), /at most 4 CPUs .*cpus_max/],
    [want(1, 2048), /at most 1024MiB of memory .*memory_max/],
    [want(1, 128), /384MiB of memory and not 128MiB/],
    [want(1, 384, 32), /disks only grow/],
  ]
  for (const [wanted, message] of refusals) {
    t.throws(() => plan(wanted), { code: 'resize_unsupported', message }, String(message))
  }
  const uneven = { ...machine, memoryMaxBytes: 450 * MiB }
  t.throws(() => planResize('web-1', uneven, nothingAdded, want(1, 440), null), {
    message: /in steps of 128MiB/,
  })
})

t.test('a machine without a disk gets one where more is asked for than it is counted with', async t => {
  const bare = { ...machine, diskBytes: null }
  const asked = (disk: number, counted: number | null, kind: Machine['kind'] = 'pc') =>
    planResize('web-1', { ...bare, kind }, nothingAdded, want(2, 384, disk), counted)
  const none = { addCpus: 1, diskBytes: null, plugDisk: false }
  t.match(asked(64, 64 * MiB), { ...none, result: { diskBytes: 64 * MiB } }, 'as counted')
  t.match(asked(128, null), none, 'where no record says what was counted')
  const plugged = { diskBytes: 128 * MiB, plugDisk: true, result: { diskBytes: 128 * MiB } }
  t.match(asked(128, 64 * MiB), plugged)
  t.throws(() => asked(32, 64 * MiB), {
    code: 'resize_unsupported',
    message: /made without a disk and is counted with 67108864 bytes/,
    details: { field: 'resources.disk', disk_bytes: 64 * MiB },
  })
  t.throws(() => asked(128, 64 * MiB, 'q35'), {
    code: 'resize_unsupported',
    message: /no free place.*set `instance.template.disk` and replace it/,
  })
})
