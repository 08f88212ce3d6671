/**
 * What only real VMs can get wrong: a clone killed while it is restored, a monitor that is gone, a source left paused,
 * random numbers and clock of clones, memory that stays when its file is gone. The rest is in the drivers' contract.
 */
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../../lib/clock.ts'
import type { HeldInstance } from '../../../lib/hypervisor/driver.ts'
import { openNamespaces } from '../../../lib/hypervisor/network/namespace.ts'
import { namespacePrefix, parsePool, poolDefault } from '../../../lib/hypervisor/network/plan.ts'
import { askAbilities } from '../../../lib/hypervisor/qemu/abilities.ts'
import { Qmp } from '../../../lib/hypervisor/qemu/qmp.ts'
import { ask, Bench, identity, owner, told } from '../../support/driver-bench.ts'
import { leftOut } from '../../support/left-out.ts'
import { qemuDriver, qemuResources } from '../../support/qemu-node.ts'
import { vmImage } from '../../support/vm-image.ts'
import { until } from '../../support/wait.ts'

const resources = qemuResources
const template = await vmImage()
/** The contract's VMs are copied; these are saved in the background where the kernel lets them. */
const { background, backgroundReason } = await askAbilities('qemu-system-x86_64')
if (!background) leftOut(t, `snapshots in the background (run as root): ${backgroundReason}`)
const method = background ? 'background' : 'copy'
const options = {
  makeDriver: qemuDriver,
  template: { ...template, env: { GREETING: "it's me" }, disk: true, snapshot: method },
  resources,
  port: 8080,
  timeoutMs: 180_000,
}

t.test('on one source', async t => {
  const bench = new Bench(t, options)
  const source = await bench.running('web-op1-1')
  await ask(source, '/sessions/kept', 'in memory')
  await ask(source, '/files/kept', 'on disk')
  await connected(t, source)
  await secretsAreHidden(t, bench, source.pid!)
  const snapshot = { name: 'web-op1-s', owner, source: source.name }
  const report = await bench.driver.snapshot(snapshot, bench.signal())
  t.equal(report.method, method)
  t.ok(report.pausedMs > 0 && report.snapshot.bytes < resources.memoryBytes, 'holes are not copied')

  await t.test('a clone killed while it is made', t => killedClone(t, bench))
  await t.test('clones draw different numbers and know the time', t => twins(t, bench))
  await t.test('other memory than the snapshot’s is refused', async t => {
    const spec = {
      ...bench.cloneSpec('web-op1-9', snapshot.name),
      resources: { ...resources, memoryBytes: 2 ** 28 },
    }
    await t.rejects(bench.driver.clone(spec, bench.signal()), { code: 'template_invalid' })
    t.equal(await bench.held('web-op1-9'), undefined)
  })
  await t.test('a snapshot of another boot without checksums is not complete', t => otherBoot(t, bench))
  await t.test('one of another boot is good if its checksums say so', t => keptFromBefore(t, bench))
  await t.test('a snapshot of another QEMU, or damaged, is not started from', t => foreign(t, bench))
  await t.test('clones in namespaces of their own', t => namespaces(t, bench))
  await t.test('a paused VM is resumed, from the middle of a snapshot too', t =>
    leftPaused(t, bench, source.name),
  )
  await t.test('without its monitor a VM is unknown, and can still be ended', t =>
    monitorGone(t, bench, source.name),
  )
})

/** A WebSocket to it that stays open: its clones have it in their memory, and no other end to it. */
async function connected(t: Test, { address }: HeldInstance): Promise<void> {
  const client = new WebSocket(`ws://127.0.0.1:${address!.port}/ws`)
  t.teardown(() => client.close())
  await new Promise((resolve, reject) => {
    client.onmessage = resolve
    client.onerror = () => reject(new Error('no WebSocket'))
  })
}

/** The generation id by which a kernel sees that it is a copy. */
async function generation(bench: Bench, name: string): Promise<unknown> {
  const limits = { timeoutMs: 10_000 }
  const qmp = await Qmp.open(join(bench.directory, 'instances', name, 'watch.sock'), systemClock, limits)
  try {
    return ((await qmp.execute('query-vm-generation-id', {}, limits)) as { guid: unknown }).guid
  } finally {
    qmp.close()
  }
}

/** The token is in no command line, and in no environment of a process that others can list. */
async function secretsAreHidden(t: Test, bench: Bench, pid: number): Promise<void> {
  const env = readFileSync(join(bench.directory, 'instances/web-op1-1/env'), 'utf8')
  const token = /TIDEGATE_GUEST_TOKEN='(.+)'/.exec(env)![1]!
  for (const file of ['cmdline', 'environ']) {
    t.notOk(readFileSync(`/proc/${pid}/${file}`, 'utf8').includes(token), `not in ${file}`)
  }
}

async function killedClone(t: Test, bench: Bench): Promise<void> {
  const before = bench.processes()
  const clone = bench.driver.clone(bench.cloneSpec('web-op1-2', 'web-op1-s'), bench.signal())
  clone.catch(() => {})
  const pid = await until('its process runs', () => bench.processes().find(id => !before.includes(id)))
  process.kill(pid, 'SIGKILL')
  t.match(await clone.catch(error => error.code), /^(instance_died|hypervisor_failed|snapshot_failed)$/)
  t.equal(await bench.held('web-op1-2'), undefined, 'nothing is left of it')
  t.same(bench.processes(), before, 'no process either')
  t.equal((await bench.driver.inspect()).snapshots[0]?.complete, true, 'and the snapshot is unharmed')
}

async function twins(t: Test, bench: Bench): Promise<void> {
  const names = ['web-op1-3', 'web-op1-4', 'web-op1-5']
  const spec = (name: string) => bench.cloneSpec(name, 'web-op1-s')
  const clones = await Promise.all(names.map(name => bench.driver.clone(spec(name), bench.signal())))
  await bench.driver.destroy('web-op1-s')
  t.notOk(existsSync(join(bench.directory, 'snapshots/web-op1-s')), 'the files are gone')
  for (const clone of clones) {
    await bench.driver.identify(clone.name, identity(clone.name, 'cloned'), bench.signal())
  }
  const drawn = await Promise.all(clones.map(clone => told(clone, '/random')))
  for (const key of ['bytes', 'uuid', 'int']) t.equal(new Set(drawn.map(d => d[key])).size, 3, key)
  const ids = await Promise.all(['web-op1-1', ...names].map(name => generation(bench, name)))
  for (const id of ids) t.match(id, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
  t.equal(new Set(ids).size, 4, 'each kernel is told that it is another')
  for (const clone of clones)
    t.match(await told(clone, '/whoami'), { dropped: 1 }, 'it let go of what is not its own')
  t.match(await ask(clones[0]!, '/healthz'), { status: 200 })
  for (const clone of clones) {
    t.match(await told(clone, '/sessions/kept'), { value: 'in memory' }, `${clone.name} outlives the files`)
    const date = (await fetch(`http://127.0.0.1:${clone.address!.port}/healthz`)).headers.get('date')!
    t.ok(Math.abs(Date.parse(date) - Date.now()) < 5_000, `${clone.name} says ${date}`)
  }
  await Promise.all(names.map(name => bench.driver.destroy(name)))
  await bench.driver.snapshot({ name: 'web-op1-s', owner, source: 'web-op1-1' }, bench.signal())
}

async function otherBoot(t: Test, bench: Bench): Promise<void> {
  const file = join(bench.directory, 'snapshots/web-op1-s/owner.json')
  const record = readFileSync(file, 'utf8')
  writeFileSync(file, record.replace(/"boot": "[^"]+"/, '"boot": "another"'))
  t.equal((await bench.driver.inspect()).snapshots[0]?.complete, false)
  const clone = bench.driver.clone(bench.cloneSpec('web-op1-6', 'web-op1-s'), bench.signal())
  await t.rejects(clone, { code: 'snapshot_failed' })
  writeFileSync(file, record)
}

/** As another process finds it after a reboot: under another name, which nobody remembers having written. */
async function keptFromBefore(t: Test, bench: Bench): Promise<void> {
  const { driver } = bench
  const request = { name: 'web-op1-k', owner, source: 'web-op1-1', keep: true }
  await driver.snapshot(request, bench.signal())
  const [was, is] = ['web-op1-k', 'web-op1-r'].map(name => join(bench.directory, 'snapshots', name))
  renameSync(was!, is!)
  const record = readFileSync(join(is!, 'owner.json'), 'utf8')
  const old = record.replace(/"boot": "[^"]+"/, '"boot": "another"').replaceAll('web-op1-k', 'web-op1-r')
  writeFileSync(join(is!, 'owner.json'), old)
  const held = (await driver.inspect()).snapshots.find(({ name }) => name === 'web-op1-r')
  t.equal(held?.complete, true)
  const clone = await driver.clone(bench.cloneSpec('web-op1-6', 'web-op1-r'), bench.signal())
  t.match(await told(clone, '/sessions/kept'), { value: 'in memory' })
  await driver.destroy(clone.name)

  const ram = openSync(join(is!, 'ram'), 'r+')
  writeSync(ram, Buffer.from('lost'), 0, 4, 2 ** 24)
  closeSync(ram)
  const spoilt = driver.clone(bench.cloneSpec('web-op1-6', 'web-op1-r'), bench.signal())
  await t.rejects(spoilt, { code: 'snapshot_unusable', details: { why: 'checksum' } })
  await driver.destroy('web-op1-r')
}

async function foreign(t: Test, bench: Bench): Promise<void> {
  const directory = join(bench.directory, 'snapshots/web-op1-s')
  const spoilt = async (name: string, change: (content: Buffer) => Buffer, why: string) => {
    const path = join(directory, name)
    const content = readFileSync(path)
    writeFileSync(path, change(content))
    const clone = bench.driver.clone(bench.cloneSpec('web-op1-6', 'web-op1-s'), bench.signal())
    await t.rejects(clone, { code: 'snapshot_unusable', details: { why } })
    t.equal(await bench.held('web-op1-6'), undefined, 'nothing was started')
    writeFileSync(path, content)
  }
  const record = (from: RegExp, to: string) => (content: Buffer) =>
    Buffer.from(content.toString('utf8').replace(from, to))
  await spoilt('owner.json', record(/"maker": "[^"]+"/, '"maker": "QEMU 1.0"'), 'version')
  const flip = (content: Buffer) => {
    const changed = Buffer.from(content)
    changed[changed.length >> 1]! ^= 1
    return changed
  }
  await spoilt('state', flip, 'checksum')
}

/** Of a source in another network: a state does not depend on it. Where there are none, that is said before anything starts. */
async function namespaces(t: Test, bench: Bench): Promise<void> {
  const names = ['web-op1-6', 'web-op1-7']
  const make = (name: string) => {
    const spec = bench.cloneSpec(name, 'web-op1-s')
    return bench.driver.clone(
      { ...spec, template: { ...spec.template, network: 'namespace' } },
      bench.signal(),
    )
  }
  const [checked] = await openNamespaces(parsePool(poolDefault, 'pool')).check()
  if (!checked?.ok) {
    leftOut(t, `VMs in network namespaces (run as root): ${checked?.detail}`)
    await t.rejects(make(names[0]!), { code: 'network_unavailable', message: /network: user/ })
    t.equal(await bench.held(names[0]!), undefined)
    return
  }
  const clones = await Promise.all(names.map(make))
  for (const clone of clones) await bench.answers(clone)
  t.equal(new Set(clones.map(({ address }) => address!.host)).size, 2, 'each has an address of its own')
  for (const clone of clones) {
    t.equal(clone.address!.port, 8080, 'and its own ports')
    await bench.driver.identify(clone.name, identity(clone.name, 'cloned'), bench.signal())
    t.match(await told(clone, '/whoami'), { instance_id: clone.name }, 'is reached apart')
    t.match(await told(clone, '/files/kept'), { value: 'on disk' })
  }
  const ours = () =>
    readdirSync('/run/netns').filter(name => name.startsWith(namespacePrefix(bench.directory)))
  t.equal(ours().length, 2)
  await bench.driver.destroy(names[0]!)
  // As a machine on which somebody cleaned up by hand: the process is gone and its directory too.
  process.kill(clones[1]!.pid!, 'SIGKILL')
  await until('it is dead', async () => (await bench.held(names[1]!))?.state === 'stopped')
  rmSync(join(bench.directory, 'instances', names[1]!), { recursive: true })
  await bench.driver.inspect()
  t.same(ours(), [], 'no namespace is left')
}

async function leftPaused(t: Test, bench: Bench, name: string): Promise<void> {
  const limits = { timeoutMs: 10_000 }
  const control = join(bench.directory, 'instances', name, 'control.sock')
  const stop = async (afterwards: (qmp: Qmp) => Promise<unknown>) => {
    const qmp = await Qmp.open(control, systemClock, limits)
    await qmp.execute('stop', {}, limits)
    await afterwards(qmp)
    qmp.close()
    t.equal((await bench.held(name))?.state, 'paused')
    await bench.driver.resume(name)
    t.equal((await bench.held(name))?.state, 'running')
    t.match(
      await told({ address: (await bench.held(name))!.address }, '/count'),
      { count: 1 },
      'it serves on',
    )
  }
  await stop(async () => {})
  // As a Tidegate that died while the state was being written: the pipe is never read to its end.
  await stop(qmp => qmp.execute('migrate', { uri: 'exec:sleep 60 && cat > /dev/null' }, limits))
}

async function monitorGone(t: Test, bench: Bench, name: string): Promise<void> {
  const directory = join(bench.directory, 'instances', name)
  for (const socket of ['control.sock', 'watch.sock']) rmSync(join(directory, socket))
  t.match(await bench.held(name), { state: 'unknown', pid: Number }, 'not gone')
  await t.rejects(bench.driver.resume(name), { code: 'hypervisor_unreachable' })
  const snapshot = { name: 'web-op1-t', owner, source: name }
  await t.rejects(bench.driver.snapshot(snapshot, bench.signal()), { code: 'hypervisor_unreachable' })
  const { port } = (await bench.held(name))!.address!
  await new Promise<void>((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve()
    })
    socket.once('error', reject)
  })
  await bench.driver.stop(name, 100)
  t.equal((await bench.held(name))?.state, 'stopped', 'ended by its process id')
}
