/** What goes wrong under the driver: a Firecracker that dies, hangs, refuses, or is another one than it was. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Clock, systemClock } from '../../../../lib/clock.ts'
import { FirecrackerApi } from '../../../../lib/hypervisor/firecracker/api.ts'
import { HttpUnixClient } from '../../../../lib/hypervisor/http-unix/client.ts'
import { Bench, owner, told } from '../../../support/driver-bench.ts'
import {
  type DoubleOptions,
  doubleBinary,
  doubleDriver,
  doubleResources,
  doubleTemplate,
  loopbackNetwork,
} from '../../../support/firecracker-node.ts'

const snapshot = { name: 'web-op1-s', owner, source: 'web-op1-1' }

let pace = 1
/** A clock that can be made to run faster, for what waits for a guest in vain. */
const clock: Clock = { ...systemClock, monotonic: () => performance.now() * pace }
const client = { peer: 'Firecracker', requestBytesMax: 1024 }
const directoryOf = (bench: Bench, name: string) => join(bench.directory, 'instances', name)
const socketOf = (bench: Bench, name: string) => join(directoryOf(bench, name), 'api.sock')
const apiOf = (bench: Bench, name: string) => new FirecrackerApi(directoryOf(bench, name), systemClock)

/** A node whose binary can be replaced by another, and whose networks are seen. */
function node(t: Test, options: DoubleOptions = {}) {
  const programs = mkdtempSync(join(tmpdir(), 'tidegate-double-'))
  t.teardown(() => rmSync(programs, { recursive: true, force: true }))
  const binary = doubleBinary(programs, options)
  const network = loopbackNetwork()
  const bench = new Bench(t, {
    makeDriver: directory => doubleDriver(directory, binary, network, clock),
    template: doubleTemplate,
    resources: doubleResources,
    port: 8080,
    timeoutMs: 60_000,
  })
  const install = (other: DoubleOptions) => doubleBinary(programs, other)
  return { bench, network, install }
}

function nothingLeft(t: Test, bench: Bench, network: { attached: Set<string> }): void {
  t.same([...bench.files('instances'), ...bench.files('snapshots')], [], 'no file is left')
  t.same(bench.processes(), [], 'no process is left')
  t.equal(network.attached.size, 0, 'no network is left')
}

t.test('a boot that dies or is refused leaves nothing and says why', async t => {
  const { bench, network, install } = node(t)
  const faults = [
    ['PUT /boot-source', 'die', 'instance_died', /Firecracker ended/],
    ['PUT /actions', 'die-after', 'instance_died', /Firecracker ended/],
    ['PUT /machine-config', 'refuse', 'hypervisor_failed', /PUT \/machine-config: \(double\) refused/],
  ] as const
  for (const [call, fault, code, message] of faults) {
    install({ faults: { [call]: fault } })
    const create = bench.driver.create(bench.spec('web-op1-1'), bench.signal())
    await t.rejects(create, { code, message }, `${call}: ${fault}`)
    nothingLeft(t, bench, network)
  }
})

t.test('a stranger on the socket is told nothing', async t => {
  const { bench, network } = node(t, { id: 'somebody-else' })
  const create = bench.driver.create(bench.spec('web-op1-1'), bench.signal())
  const message =
    /api\.sock is a foreign socket: who answers there is called "somebody-else" and not web-op1-1/
  await t.rejects(create, { code: 'hypervisor_failed', message })
  nothingLeft(t, bench, network)
})

t.test('a boot on a Firecracker that hangs ends with its signal', async t => {
  const { bench, network } = node(t, { faults: { 'PUT /boot-source': 'hang' } })
  const stop = new AbortController()
  const create = bench.driver.create(bench.spec('web-op1-1'), stop.signal)
  create.catch(() => {})
  await stopped(bench)
  t.equal((await bench.held('web-op1-1'))?.state, 'unknown', 'it cannot be asked, and is not called gone')
  stop.abort(new Error('enough'))
  await t.rejects(create, { message: 'enough' })
  nothingLeft(t, bench, network)
})

t.test('versions are looked at before anything is started', async t => {
  const { bench, network, install } = node(t, { version: '1.12.1' })
  const create = () => bench.driver.create(bench.spec('web-op1-1'), bench.signal())
  await t.rejects(create(), { code: 'hypervisor_unsupported', message: /1\.13\.0 or later/ })
  nothingLeft(t, bench, network)

  install({ version: '1.15.1', format: '9.0.0' })
  await bench.running('web-op1-1')
  await bench.driver.snapshot(snapshot, bench.signal())
  install({ version: '1.16.1', format: '10.0.0' })
  const clone = bench.driver.clone(bench.cloneSpec('web-op1-2', snapshot.name), bench.signal())
  await t.rejects(clone, { code: 'snapshot_unusable', message: /1\.15\.1 .* cannot read; .* take another/ })
  const again = bench.driver.snapshot({ ...snapshot, name: 'web-op2-s' }, bench.signal())
  await t.rejects(again, { code: 'snapshot_failed', message: /replace it by an instance that boots/ })
  t.equal((await bench.held('web-op1-1'))?.state, 'running', 'the old one goes on, and was not paused for it')
  for (const name of [snapshot.name, 'web-op1-1']) await bench.driver.destroy(name)
  nothingLeft(t, bench, network)
})

t.test('a load that is refused says why, although Firecracker ends of it', async t => {
  const { bench, network, install } = node(t)
  await bench.running('web-op1-1')
  await bench.driver.snapshot(snapshot, bench.signal())
  const directory = join(bench.directory, 'snapshots', snapshot.name)
  const clone = () => bench.driver.clone(bench.cloneSpec('web-op1-2', snapshot.name), bench.signal())

  const kept = readFileSync(join(directory, 'state'))
  writeFileSync(join(directory, 'state'), 'torn')
  await t.rejects(clone(), { code: 'snapshot_unusable', message: /checksum/ }, 'torn: seen before the start')
  writeFileSync(join(directory, 'state'), kept)
  install({ faults: { 'PUT /snapshot/load': 'refuse-and-end' } })
  await t.rejects(clone(), { code: 'snapshot_failed', message: /Load snapshot error: .*Unknown/ })

  for (const call of ['PUT /snapshot/load', 'PATCH /vm']) {
    install({ faults: { [call]: 'die' } })
    await t.rejects(clone(), { code: 'instance_died' }, `${call}: dies`)
    t.equal(await bench.held('web-op1-2'), undefined)
  }
  t.equal(statSync(join(directory, 'memory')).mode & 0o777, 0o400, 'what clones map is for nobody to write')
  for (const name of [snapshot.name, 'web-op1-1']) await bench.driver.destroy(name)
  nothingLeft(t, bench, network)
})

t.test('a source is let go, whatever becomes of its snapshot', async t => {
  const { bench, network } = node(t, { faults: { 'PUT /snapshot/create': 'refuse' } })
  const source = await bench.running('web-op1-1')
  await t.rejects(bench.driver.snapshot(snapshot, bench.signal()), { code: 'snapshot_failed' })
  t.equal((await bench.held('web-op1-1'))?.state, 'running')
  t.match(await told(source, '/healthz'), { ok: true })
  await bench.driver.destroy('web-op1-1')
  nothingLeft(t, bench, network)
})

t.test('a Firecracker that is stopped in its tracks is unknown, and is killed all the same', async t => {
  const { bench, network } = node(t)
  const source = await bench.running('web-op1-1')
  process.kill(source.pid!, 'SIGSTOP')
  t.match(await bench.held('web-op1-1'), { state: 'unknown', pid: source.pid })
  process.kill(source.pid!, 'SIGCONT')
  t.equal((await bench.held('web-op1-1'))?.state, 'running')
  rmSync(join(bench.directory, 'instances', 'web-op1-1', 'api.sock'))
  t.equal((await bench.held('web-op1-1'))?.state, 'unknown', 'no socket and a process: not gone')
  process.kill(source.pid!, 'SIGSTOP')
  await bench.driver.stop('web-op1-1', 100)
  t.equal((await bench.held('web-op1-1'))?.state, 'stopped')
  await bench.driver.destroy('web-op1-1')
  nothingLeft(t, bench, network)
})

t.test('disks, memory by wish, and sparse snapshots', async t => {
  const { bench, network } = node(t)
  const image = join(bench.directory, 'root.ext4')
  writeFileSync(image, 'the image')
  const own = {
    ...doubleTemplate,
    rootfs: image,
    memory_max: '384MiB',
    balloon: true,
    sparse_snapshots: true,
  }
  const spec = { ...bench.spec('web-op1-1'), template: own }
  await bench.driver.create(spec, bench.signal())
  const inside = (kind: string, name: string) => join(bench.directory, kind, name, 'disk')
  writeFileSync(inside('instances', 'web-op1-1'), 'written by the guest')

  const more = { ...doubleResources, memoryBytes: 256 * 2 ** 20 }
  const report = await bench.driver.resize('web-op1-1', more, bench.signal())
  t.strictSame(report.resources, more)
  const tooMuch = { ...more, memoryBytes: 2 ** 30 }
  await t.rejects(bench.driver.resize('web-op1-1', tooMuch, bench.signal()), { code: 'resize_unsupported' })

  await bench.driver.snapshot(snapshot, bench.signal())
  const request = { ...bench.cloneSpec('web-op1-2', snapshot.name), resources: more, template: own }
  await bench.driver.clone(request, bench.signal())
  t.equal(
    readFileSync(inside('instances', 'web-op1-2'), 'utf8'),
    'written by the guest',
    'as the source left it',
  )
  t.equal(readFileSync(image, 'utf8'), 'the image', 'which nobody wrote to')
  writeFileSync(inside('instances', 'web-op1-2'), 'written by the clone')
  t.equal(readFileSync(inside('instances', 'web-op1-1'), 'utf8'), 'written by the guest', 'each has its own')
  const between = { ...more, memoryBytes: 192 * 2 ** 20 }
  const neither = { ...request, name: 'web-op1-3', resources: between }
  await t.rejects(bench.driver.clone(neither, bench.signal()), { code: 'template_invalid' })
  await bench.driver.clone({ ...neither, resources: doubleResources }, bench.signal())
  await bench.driver.destroy(neither.name)

  const second = { ...snapshot, name: 'web-op2-s', source: 'web-op1-2' }
  await bench.driver.snapshot(second, bench.signal())
  const third = { ...request, name: 'web-op2-1', snapshot: second.name }
  await bench.driver.clone(third, bench.signal())
  t.pass('a clone’s own snapshot is a full one: a sparse one would lack what it never touched')
  for (const name of ['web-op1-1', 'web-op1-2', 'web-op2-1', snapshot.name, second.name]) {
    await bench.driver.destroy(name)
  }
  rmSync(image)
  nothingLeft(t, bench, network)
})

t.test(
  'a guest that does not follow, and a Firecracker that refuses: the memory stays as it was',
  async t => {
    const { bench, install } = node(t, { guestKeepsMemory: true })
    const template = { ...doubleTemplate, memory_max: '384MiB', balloon: true }
    await bench.driver.create({ ...bench.spec('web-op1-1'), template }, bench.signal())
    const api = apiOf(bench, 'web-op1-1')
    const resize = (name: string, mebibytes: number) =>
      bench.driver.resize(name, { ...doubleResources, memoryBytes: mebibytes * 2 ** 20 }, bench.signal())
    for (const mebibytes of [256, 96]) {
      pace = 200
      const message = new RegExp(
        `did not go to ${mebibytes} MiB within 15000 ms; its kernel needs virtio_mem`,
      )
      await t.rejects(resize('web-op1-1', mebibytes), { code: 'hypervisor_failed', message })
      pace = 1
      t.match(await api.hotplug({ timeoutMs: 10_000 }), { requestedMib: 0 }, 'no wish is left')
      const raw = new HttpUnixClient(socketOf(bench, 'web-op1-1'), client, systemClock)
      const balloon = await raw.call('GET', '/balloon/statistics', undefined, { timeoutMs: 10_000 })
      t.match(balloon.body, { target_mib: 0 })
    }
    t.equal((await bench.held('web-op1-1'))?.state, 'running')

    install({ faults: { 'PATCH /hotplug/memory': 'refuse' } })
    await bench.driver.create({ ...bench.spec('web-op1-2'), template }, bench.signal())
    await t.rejects(resize('web-op1-2', 256), { code: 'hypervisor_failed', message: /refused as asked/ })
    await bench.driver.snapshot({ ...snapshot, source: 'web-op1-2' }, bench.signal())
    const clone = await bench.driver.clone(bench.cloneSpec('web-op1-3', snapshot.name), bench.signal())
    t.equal(clone.state, 'running', 'a clone has the size that it was made with')
  },
)

t.test('doctor tells a kernel that comes up from one that spins', async t => {
  const { bench, install } = node(t)
  // Its own: other tests that run now make such directories too.
  const scratch = mkdtempSync(join(tmpdir(), 'tidegate-trial-'))
  const before = process.env.TMPDIR
  process.env.TMPDIR = scratch
  t.teardown(() => {
    if (before === undefined) delete process.env.TMPDIR
    else process.env.TMPDIR = before
    rmSync(scratch, { recursive: true, force: true })
  })
  const kvm = async () => (await bench.driver.check(doubleTemplate)).find(({ name }) => name === 'kvm')
  t.match(await kvm(), { ok: true })
  install({ kernel: 'spins' })
  t.match(await kvm(), { ok: false, detail: /did not come up within 8 s/, fix: /qemu/ })
  const missing = await bench.driver.check({ ...doubleTemplate, kernel: '/no/such' })
  t.match(
    missing.find(({ name }) => name === 'vm image'),
    { ok: false, code: 'image_missing' },
  )
  t.notOk(existsSync(join(bench.directory, 'instances')), 'nothing was made')
  t.same(readdirSync(scratch), [], 'nothing is left of the trials')
})

/** Resolves when the hung double is stopped by its signal. */
async function stopped(bench: Bench): Promise<void> {
  for (;;) {
    for (const pid of bench.processes()) {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
      if (stat.slice(stat.lastIndexOf(')') + 2).startsWith('T')) return
    }
    await new Promise(resolve => setImmediate(resolve))
  }
}
