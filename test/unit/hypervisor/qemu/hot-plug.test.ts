/** Other resources for a VM that runs, against a monitor that refuses at each place: all of it is done, or nothing of it is left. */
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../../../lib/clock.ts'
import { TidegateError } from '../../../../lib/errors.ts'
import { resizeVm } from '../../../../lib/hypervisor/qemu/hot-plug.ts'
import { type Machine, nothingAdded } from '../../../../lib/hypervisor/qemu/machine.ts'
import { Qmp } from '../../../../lib/hypervisor/qemu/qmp.ts'
import type { ResizePlan } from '../../../../lib/hypervisor/qemu/resize-plan.ts'
import { type Asked, answered, fakeMonitor, happened, refused } from '../../../support/fake-monitor.ts'

const MiB = 2 ** 20
const machine: Machine = {
  ...({ kind: 'pc', accelerator: 'tcg', cpus: 1, cpusMax: 4, outbound: false } as const),
  ...{ memoryBytes: 384 * MiB, memoryMaxBytes: 1024 * MiB, added: nothingAdded, diskBytes: 64 * MiB },
}
const plan = (over: Partial<ResizePlan>): ResizePlan => ({
  ...{
    now: nothingAdded,
    cpus: 1,
    addCpus: 0,
    addMemoryBytes: 0,
    keepDimms: 0,
    diskBytes: null,
    plugDisk: false,
  },
  result: { cpus: 1, memoryBytes: 384 * MiB, diskBytes: 64 * MiB },
  ...over,
})
const grow = plan({ cpus: 2, addCpus: 1, addMemoryBytes: 128 * MiB, diskBytes: 128 * MiB })
const two = { cpus: 0, dimmBytes: [128 * MiB, 128 * MiB] }
const shrink = plan({ now: two })

type Answer = (asked: Asked) => string | null

const disk = [{ inserted: { 'node-name': 'disk', image: { filename: 'x', 'virtual-size': 64 * MiB } } }]

/** `answer` says what is not as it should be; null: as QEMU would. Returns what was done, in words. */
async function resized(t: Test, wanted: ResizePlan, answer: Answer, tell = async (_cpus: number) => {}) {
  const did: string[] = []
  const path = await fakeMonitor(t, (asked, socket) => {
    const { execute, arguments: args } = asked
    const what = args.id ?? args['qom-type'] ?? args['node-name'] ?? ''
    if (!execute.startsWith('query')) did.push(`${execute} ${what}`)
    if (execute === 'object-add') writeFileSync(join(dirname(path), String(args.id)), '')
    const other = answer(asked)
    if (other !== null) return void socket.write(other)
    socket.write(answered(asked, execute === 'query-block' ? disk : {}))
    if (execute === 'device_del') socket.write(happened('DEVICE_DELETED', { device: args.id }))
  })
  const directory = dirname(path)
  for (const slot of wanted.now.dimmBytes.keys()) writeFileSync(join(directory, `dimm${slot}`), '')
  const qmp = await Qmp.open(path, systemClock, { timeoutMs: 5_000 })
  t.teardown(() => qmp.close())
  const signal = new AbortController().signal
  const told = async (cpus: number) => {
    did.push(`tell ${cpus}`)
    await tell(cpus)
  }
  const site = { qmp, directory, machine, memory: 'shared', signal, tell: told, cpusBefore: 1 } as const
  const error = await resizeVm(site, wanted).then(
    () => null,
    error => error,
  )
  const modules = ['dimm0', 'dimm1'].filter(name => existsSync(join(directory, name)))
  return { did, error, modules, directory }
}

const refuses =
  (command: string, id?: string): Answer =>
  asked =>
    asked.execute === command && (id === undefined || asked.arguments.id === id)
      ? refused(asked, 'no, thank you')
      : null

t.test('all of it, in an order in which what fails can be taken back', async t => {
  const { did, error, modules } = await resized(t, grow, () => null)
  t.equal(error, null)
  t.same(did, [
    'object-add dimm0',
    'device_add dimm0-module',
    'device_add cpu1',
    'tell 2',
    'block_resize disk',
  ])
  t.same(modules, ['dimm0'])
})

t.test('a module that cannot be plugged leaves neither its memory nor its file', async t => {
  const { did, error, modules } = await resized(t, grow, refuses('device_add'))
  t.match(error, { code: 'hypervisor_failed', message: /no, thank you/ })
  t.same(did, ['object-add dimm0', 'device_add dimm0-module', 'object-del dimm0'])
  t.same(modules, [])
})

t.test('a module whose plugging was not answered is in use: its file stays', async t => {
  const cut: Answer = asked => {
    if (asked.execute === 'object-del') return refused(asked, "object 'dimm0' is in use, can not be deleted")
    return asked.execute === 'device_add' ? refused(asked, 'a word that came too late') : null
  }
  const { error, modules } = await resized(t, grow, cut)
  t.match(error, { message: /a word that came too late/ })
  t.same(modules, ['dimm0'])
})

t.test('a processor that cannot be plugged: the module goes again', async t => {
  const { did, error, modules } = await resized(t, grow, refuses('device_add', 'cpu1'))
  t.match(error, { code: 'hypervisor_failed' })
  t.same(did.slice(-2), ['device_del dimm0-module', 'object-del dimm0'])
  t.same(modules, [])
})

t.test('a guest that does not use what it got: it is told what it had, and the module goes', async t => {
  const unused = new TidegateError('hypervisor_failed', 'the guest uses 1 CPUs')
  const { did, error, modules } = await resized(
    t,
    grow,
    () => null,
    cpus => (cpus === 2 ? Promise.reject(unused) : Promise.resolve()),
  )
  t.equal(error, unused)
  t.same(did.slice(-4), ['tell 2', 'tell 1', 'device_del dimm0-module', 'object-del dimm0'])
  t.same(modules, [])
})

t.test('a guest that is silent at that is undone all the same', async t => {
  const silent = () => Promise.reject(new TidegateError('guest_unreachable', 'nobody answers'))
  const { did, error, modules } = await resized(t, grow, () => null, silent)
  t.match(error, { code: 'guest_unreachable' })
  t.same(did.slice(-3), ['tell 1', 'device_del dimm0-module', 'object-del dimm0'])
  t.same(modules, [])
})

for (const event of ['DEVICE_UNPLUG_GUEST_ERROR', 'MEM_UNPLUG_ERROR']) {
  t.test(`a guest that keeps a module (${event}): what it had given back is plugged in again`, async t => {
    const keeps: Answer = asked =>
      asked.execute === 'device_del' && asked.arguments.id === 'dimm0-module'
        ? answered(asked) + happened(event, { device: 'dimm0-module' })
        : null
    const { did, error, modules } = await resized(t, shrink, keeps)
    t.match(error, { code: 'hypervisor_failed', message: /does not give the memory back: it is in use/ })
    t.same(did, [
      ...['tell 1', 'device_del dimm1-module', 'object-del dimm1', 'device_del dimm0-module'],
      ...['object-add dimm1', 'device_add dimm1-module', 'tell 1'],
    ])
    t.same(modules, ['dimm0', 'dimm1'])
  })
}

t.test('the word of another device is not taken for it', async t => {
  const others: Answer = asked =>
    asked.execute === 'device_del'
      ? answered(asked) +
        happened('DEVICE_UNPLUG_GUEST_ERROR', { device: 'another' }) +
        happened('DEVICE_DELETED', { device: asked.arguments.id })
      : null
  const { error, modules } = await resized(t, shrink, others)
  t.equal(error, null)
  t.same(modules, [])
})

t.test('a disk that does not grow, as the last: everything before it is taken back', async t => {
  const { did, error, modules } = await resized(t, grow, refuses('block_resize'))
  t.match(error, { code: 'hypervisor_failed', message: /block_resize/ })
  t.same(did.slice(-4), ['block_resize disk', 'tell 1', 'device_del dimm0-module', 'object-del dimm0'])
  t.same(modules, [])
})

const first = plan({ diskBytes: 64 * MiB, plugDisk: true })
const images = ({ directory }: { readonly directory: string }) =>
  readdirSync(directory).filter(name => name.endsWith('.qcow2')).length

t.test('a first disk: what a try before it left goes, then the image and the device', async t => {
  const done = await resized(t, first, refuses('blockdev-del'))
  t.equal(done.error, null)
  t.same(done.did.slice(1), ['blockdev-del disk', 'blockdev-add disk', 'device_add disk0'])
  t.equal(images(done), 1)
})

t.test('a first disk that QEMU does not take leaves no image', async t => {
  for (const command of ['blockdev-add', 'device_add']) {
    const done = await resized(t, first, refuses(command))
    t.match(done.error, { code: 'hypervisor_failed', message: /no, thank you/ })
    t.equal(images(done), 0, command)
  }
})

t.test('a first disk whose plugging was not answered is in use: its image stays', async t => {
  let deletes = 0
  const cut: Answer = asked => {
    if (asked.execute === 'blockdev-del' && ++deletes > 1) return refused(asked, 'Node disk is in use')
    return asked.execute === 'device_add' ? refused(asked, 'a word that came too late') : null
  }
  const done = await resized(t, first, cut)
  t.match(done.error, { message: /a word that came too late/ })
  t.equal(images(done), 1)
})
