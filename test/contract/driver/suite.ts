/**
 * What every driver must do, said once and run for each by the tests beside this file, on the demo application.
 * What only one kind of hypervisor has (a hook that hangs, a socket of QEMU's) is in that driver's own tests.
 */
import t, { type Test } from 'tap'
import { TidegateError } from '../../../lib/errors.ts'
import type { HeldInstance } from '../../../lib/hypervisor/driver.ts'
import { Bench, type BenchOptions, copiedAtMs, identity, owner } from '../../support/driver-bench.ts'
import { until } from '../../support/wait.ts'

/** Enough sessions that taking and giving back the state is not over in an instant. */
const bulkSessions = 200
const bulkValue = 'x'.repeat(60_000)

export function driverContract(name: string, options: BenchOptions): void {
  const tests: Record<string, (t: Test, bench: Bench) => Promise<void>> = {
    'bad names and templates are refused and leave nothing': refusals,
    'what cannot be read is unknown, and is never destroyed': unreadable,
    'an aborted create leaves nothing': abortedCreate,
    'an instance lives, is known to a new driver, and leaves nothing': life,
    'one source, its snapshots and its clones': oneSource,
  }
  for (const [title, test] of Object.entries(tests)) {
    t.test(`${name}: ${title}`, t => test(t, new Bench(t, options)))
  }
}

/** A boot is dear: whatever leaves its source as it was shares one, in this order. The last part ends it. */
async function oneSource(t: Test, bench: Bench): Promise<void> {
  const source = await bench.running('web-op1-1')
  await bench.ask(source, '/sessions/kept', 'in memory')
  for (let i = 0; i < bulkSessions; i++) await bench.ask(source, `/sessions/bulk${i}`, bulkValue)
  let made: readonly HeldInstance[] = []
  await t.test('a snapshot that fails leaves the source running and nothing else', t =>
    failedSnapshots(t, bench, source),
  )
  await t.test('clones keep the state and get identities of their own', async t => {
    made = await clones(t, bench, source)
  })
  await t.test('an aborted clone leaves nothing', t => abortedClone(t, bench, source))
  await t.test('a source killed in the middle of a snapshot', t => killedSource(t, bench, source))
  await t.test('clones outlive their source, and are as good a source as any', async t => {
    for (const clone of made)
      t.match(await bench.told(clone, '/sessions/kept'), { value: 'in memory' }, clone.name)
    await secondGeneration(t, bench, made[0]!)
    for (const { name } of made) await bench.driver.destroy(name)
    await nothingLeft(t, bench)
  })
}

async function refusals(t: Test, bench: Bench): Promise<void> {
  const { driver } = bench
  t.same(await driver.inspect(), { instances: [], snapshots: [] }, 'a new directory holds nothing')
  for (const name of ['../up', 'a/b', '', '.', 'UPPER', 'x'.repeat(64)]) {
    const create = driver.create({ ...bench.spec('x'), name }, bench.signal())
    await t.rejects(create, { code: 'invalid_request' }, `create ${JSON.stringify(name)}`)
    await t.rejects(driver.destroy(name), { code: 'invalid_request' }, `destroy ${JSON.stringify(name)}`)
  }
  const nonsense = { ...bench.spec('web-op1-1'), template: { nonsense: true } }
  await t.rejects(driver.create(nonsense, bench.signal()), { code: 'template_invalid' })
  const checked = await driver.check(nonsense.template)
  const bad = checked.find(line => !line.ok)
  t.ok(bad?.fix, 'check says how to mend a bad template')
  t.same(
    (await driver.check(bench.options.template)).filter(line => !line.ok && !line.advice),
    [],
    'a good template is fine',
  )

  for (const { name, ok, fix } of await driver.check(null))
    t.ok(ok || fix, `what to do about ${name} is said`)

  const noSuch = { name: 'web-op1-s', owner, source: 'web-op1-1' }
  await t.rejects(
    driver.snapshot(noSuch, bench.signal()),
    { code: 'unknown_instance' },
    'snapshot of nothing',
  )
  await t.rejects(driver.clone(bench.cloneSpec('web-op1-2', 'web-op1-s'), bench.signal()), TidegateError)
  await t.rejects(driver.resume('web-op1-1'), { code: 'unknown_instance' })
  await driver.stop('web-op1-1', 0)
  await driver.destroy('web-op1-1')
  t.same([...bench.files('instances'), ...bench.files('snapshots')], [], 'no file was made')
  t.same(bench.processes(), [], 'nothing runs')
}

async function unreadable(t: Test, bench: Bench): Promise<void> {
  const { driver, ground } = bench
  for (const kind of ['instances', 'snapshots'] as const) {
    for (const [name, record] of Object.entries(strangers)) {
      ground.plant(kind, name, record)
    }
  }
  const before = [bench.files('instances'), bench.files('snapshots')]
  const held = await driver.inspect()
  t.equal(held.instances.length, Object.keys(strangers).length)
  for (const instance of held.instances) {
    t.equal(instance.state, 'unknown', `${instance.name} is unknown, not gone`)
    t.not(instance.owner.installation, owner.installation, `${instance.name} is not ours`)
    await t.rejects(
      driver.destroy(instance.name),
      { code: 'hypervisor_unreachable' },
      `${instance.name} stays`,
    )
  }
  for (const snapshot of held.snapshots) t.equal(snapshot.complete, false, `${snapshot.name} is not complete`)
  t.same([bench.files('instances'), bench.files('snapshots')], before, 'nothing was removed')

  await t.rejects(
    ground.unreachable().inspect(),
    { code: 'hypervisor_unreachable' },
    'a node that cannot be asked',
  )
}

/** Records as a crash, another version or another program may leave them. */
const strangers: Readonly<Record<string, string | null>> = {
  'no-record': null,
  torn: '{"version": 1, "name": "to',
  'other-name': JSON.stringify({ version: 1, name: 'x', owner, created_at_ms: 1, fields: {} }),
  'other-version': JSON.stringify({ version: 99, name: 'other-version', owner }),
}

async function life(t: Test, bench: Bench): Promise<void> {
  const { driver, directory } = bench
  const name = 'web-op1-1'
  const created = await driver.create(bench.spec(name), bench.signal())
  t.match(created, { name, owner, state: 'running' })
  t.ok(created.address && created.pid && created.residentBytes, 'address, process and memory are known')
  t.ok(bench.ground.recordedFirst(created), 'the record was there before the process')
  t.same(bench.ground.exposed(), [], 'no file that others may read')
  await bench.answers(created)

  const ack = await driver.identify(name, identity(name, 'created'), bench.signal())
  t.same(ack, { instanceId: name, incarnation: `inc-${name}`, application: 'acknowledged' })
  t.same(await driver.identify(name, identity(name, 'created'), bench.signal()), ack, 'said again: the same')
  t.match(await bench.told(created, '/whoami'), { instance_id: name, incarnation: `inc-${name}` })

  const again = bench.options.makeDriver(directory)
  const [held, ...others] = (await again.inspect()).instances
  t.match(held, { name, owner, state: 'running', address: created.address, pid: created.pid }, 'a new driver')
  t.same(others, [])
  await t.rejects(again.create(bench.spec(name), bench.signal()), TidegateError, 'a name that is taken')
  await bench.answers(created)

  await again.resume(name)
  t.equal((await bench.held(name))?.state, 'running', 'resume of what runs is a success')
  await pausing(t, bench, created)
  await resizing(t, bench, created)
  await again.stop(name, 3_000)
  await again.stop(name, 3_000)
  t.match(await bench.held(name), { state: 'stopped', pid: null, residentBytes: null })
  t.same(bench.processes(), [], 'stopped: no process is left')
  await again.destroy(name)
  await again.destroy(name)
  await nothingLeft(t, bench)
}

/** Paused it is held and silent, and runs on as if nothing had been. */
async function pausing(t: Test, bench: Bench, instance: HeldInstance): Promise<void> {
  const { driver } = bench
  const { name } = instance
  await t.rejects(driver.pause('web-op1-9'), { code: 'unknown_instance' }, 'pause of nothing')
  if (!driver.can.pause) {
    await t.rejects(driver.pause(name), { code: 'pause_unsupported' })
    return
  }
  await bench.ask(instance, '/sessions/before', 'the pause')
  await driver.pause(name)
  await driver.pause(name)
  t.match(await bench.held(name), { state: 'paused', pid: instance.pid }, 'paused, and said again: the same')
  let answered = false
  const asked = bench.told(instance, '/sessions/before').finally(() => {
    answered = true
  })
  const request = { name: 'web-op1-s', owner, source: name }
  await t.rejects(driver.snapshot(request, bench.signal()), { code: 'snapshot_failed' }, 'no snapshot of it')
  t.equal((await bench.held(name))?.state, 'paused', 'which leaves it paused')
  t.equal(answered, false, 'it answers nothing')
  await driver.resume(name)
  await driver.resume(name)
  t.match(await asked, { value: 'the pause' }, 'and then what it was asked meanwhile')
  t.equal((await bench.held(name))?.state, 'running')
}

async function resizing(t: Test, bench: Bench, instance: HeldInstance): Promise<void> {
  const { driver, options } = bench
  const { name } = instance
  const aborted = driver.resize(name, options.resources, AbortSignal.abort(new Error('early')))
  await t.rejects(aborted, { message: 'early' }, 'aborted before it began')
  const none = driver.resize('web-op1-9', options.resources, bench.signal())
  await t.rejects(none, { code: 'unknown_instance' }, 'resize of nothing')
  if (driver.can.resize.length === 0) {
    const refused = driver.resize(name, options.resources, bench.signal())
    await t.rejects(refused, { code: 'resize_unsupported' })
  }
  if (options.grows) await grown(t, bench, instance)
  await bench.answers(instance)
}

/** More of what can be changed, seen by the application; too much refused; and back. */
async function grown(t: Test, bench: Bench, instance: HeldInstance): Promise<void> {
  const { driver, options } = bench
  const { name } = instance
  const { cpus, memoryBytes, diskBytes } = options.resources
  const before = await bench.told(instance, '/whoami')
  const huge = { cpus, memoryBytes: memoryBytes * 64, diskBytes }
  const refused = driver.resize(name, huge, bench.signal())
  await t.rejects(refused, { code: 'resize_unsupported' }, 'more than it was made for')
  const larger = bench.options.disk && driver.can.resize.includes('disk') ? diskBytes * 2 : diskBytes
  const wanted = { cpus: cpus + 1, memoryBytes: memoryBytes + 2 ** 27, diskBytes: larger }
  const { resources, instance: same, application } = await driver.resize(name, wanted, bench.signal())
  t.same(resources, wanted)
  t.equal(application, 'acknowledged')
  t.match(same, { name, state: 'running', pid: instance.pid }, 'the same one, never stopped')
  const after = await bench.told(instance, '/whoami')
  t.equal(after.cpus, cpus + 1, 'the guest has another processor')
  if (bench.options.disk)
    t.same([before.disk_bytes, after.disk_bytes], [diskBytes, larger], 'and a larger disk')
  const heard = ({ limits }: Record<string, unknown>) => limits as Record<string, number>
  t.match(
    heard(after),
    { cpus: cpus + 1, memoryBytes: wanted.memoryBytes, ...(bench.options.disk ? { diskBytes: larger } : {}) },
    'and its application heard of it',
  )
  t.ok(Number(after.memory_bytes) - Number(before.memory_bytes) > 2 ** 26, 'and more memory')
  t.same((await driver.resize(name, wanted, bench.signal())).resources, wanted, 'said again: the same')
  await bench.ask(instance, '/sessions/grown', 'in memory')
  const request = { name: 'web-op1-g', owner, source: name }
  await driver.snapshot(request, bench.signal())
  const asNow = { ...bench.cloneSpec('web-op1-8', request.name), resources: wanted }
  const between = { ...asNow, resources: { ...wanted, memoryBytes: memoryBytes + 2 ** 26 } }
  await t.rejects(driver.clone(between, bench.signal()), { code: 'template_invalid' }, 'neither of its sizes')
  await driver.destroy((await driver.clone(asNow, bench.signal())).name)
  const clone = await driver.clone(bench.cloneSpec('web-op1-8', request.name), bench.signal())
  await bench.answers(clone)
  t.match(
    await bench.told(clone, '/whoami'),
    { cpus: cpus + 1, memory_bytes: after.memory_bytes, disk_bytes: after.disk_bytes },
    'as its clone',
  )
  for (const gone of [clone.name, request.name]) await driver.destroy(gone)
  if (larger > diskBytes) {
    const less = driver.resize(name, options.resources, bench.signal())
    await t.rejects(less, { code: 'resize_unsupported', message: /disks only grow/ })
  }
  await driver.resize(name, { ...options.resources, diskBytes: larger }, bench.signal())
  const again = await bench.told(instance, '/whoami')
  t.match(again, { cpus, memory_bytes: before.memory_bytes }, 'and what it had before')
  t.match(heard(again), { cpus, memoryBytes }, 'as its application knows')
}

async function clones(t: Test, bench: Bench, source: HeldInstance): Promise<readonly HeldInstance[]> {
  const { driver } = bench
  const before = await bench.told(source, '/random')
  if (bench.options.disk) {
    const { body } = await bench.ask(source, '/files/kept', 'on disk')
    t.match(JSON.parse(body), { directory: '/data' }, 'where the disk is, and not in memory')
  }

  const request = { name: 'web-op1-s', owner, source: source.name }
  const report = await driver.snapshot(request, bench.signal())
  t.match(report.snapshot, { ...request, complete: true })
  t.ok(report.snapshot.bytes > 0 && report.pausedMs >= 0, 'size and pause are reported')
  t.same(bench.ground.exposed(), [], 'no file that others may read')
  await bench.ask(source, '/sessions/later', 'after the snapshot')
  if (bench.options.disk) await bench.ask(source, '/files/later', 'after the snapshot')
  await t.rejects(driver.snapshot(request, bench.signal()), TidegateError, 'the name is taken')
  t.equal((await driver.inspect()).snapshots[0]?.complete, true, 'and the snapshot unharmed')

  await otherSizes(t, bench, request.name)
  const names = ['web-op1-2', 'web-op1-3']
  const made = await Promise.all(
    names.map(name => driver.clone(bench.cloneSpec(name, request.name), bench.signal())),
  )
  for (const clone of made) await bench.answers(clone)
  t.equal(new Set([source, ...made].map(({ address }) => address!.port)).size, 3, 'each has its own address')
  await driver.destroy(request.name)
  t.same((await driver.inspect()).snapshots, [], 'the snapshot is gone')

  for (const clone of made) {
    t.match(
      await bench.told(clone, '/sessions/kept'),
      { value: 'in memory' },
      `${clone.name} has the state at once`,
    )
    t.equal((await bench.ask(clone, '/sessions/later')).status, 404, 'of the moment of the snapshot')
    const ack = await driver.identify(clone.name, identity(clone.name, 'cloned'), bench.signal())
    t.match(ack, { instanceId: clone.name, application: 'acknowledged' })
  }
  await identitiesDiffer(t, bench, [source, ...made], before)
  if (bench.options.disk) await disksDiffer(t, bench, source, made)
  return made
}

/** A clone has its source's size: another is refused before anything is started, where instances have a size at all. */
async function otherSizes(t: Test, bench: Bench, snapshot: string): Promise<void> {
  const { driver, options } = bench
  if (!driver.can.sized) return
  const { cpus, memoryBytes, diskBytes } = options.resources
  const before = bench.processes()
  for (const [what, resources] of Object.entries({
    memory: { cpus, memoryBytes: memoryBytes * 2, diskBytes },
    CPUs: { cpus: cpus + 1, memoryBytes, diskBytes },
  })) {
    const spec = { ...bench.cloneSpec('web-op1-2', snapshot), resources }
    await t.rejects(driver.clone(spec, bench.signal()), { code: 'template_invalid' }, `other ${what}`)
  }
  t.equal(await bench.held('web-op1-2'), undefined, 'nothing is left')
  t.same(bench.processes(), before, 'and nothing was started')
}

/** Each has what was written just before the snapshot, and from then on writes for itself alone. */
async function disksDiffer(
  t: Test,
  bench: Bench,
  source: HeldInstance,
  made: readonly HeldInstance[],
): Promise<void> {
  for (const clone of made) {
    t.match(await bench.told(clone, '/files/kept'), { value: 'on disk' }, `${clone.name} has the file`)
    t.equal((await bench.ask(clone, '/files/later')).status, 404, 'of the moment of the snapshot')
    await bench.ask(clone, '/files/own', clone.name)
  }
  for (const clone of made)
    t.match(await bench.told(clone, '/files/own'), { value: clone.name }, 'and its own')
  t.equal((await bench.ask(source, '/files/own')).status, 404, 'that the source does not see')
}

/** A clone is as good a source as any. */
async function secondGeneration(t: Test, bench: Bench, parent: HeldInstance): Promise<void> {
  await bench.ask(parent, '/sessions/second', 'generation')
  const request = { name: 'web-op2-s', owner, source: parent.name }
  await bench.driver.snapshot(request, bench.signal())
  const child = await bench.driver.clone(bench.cloneSpec('web-op2-1', request.name), bench.signal())
  await bench.answers(child)
  t.match(await bench.told(child, '/sessions/kept'), { value: 'in memory' }, 'a clone of a clone')
  t.match(await bench.told(child, '/sessions/second'), { value: 'generation' })
  if (bench.options.disk)
    t.match(await bench.told(child, '/files/own'), { value: parent.name }, 'and its disk')
  await bench.driver.identify(child.name, identity(child.name, 'cloned', parent.name), bench.signal())
  await identitiesDiffer(t, bench, [parent, child], await bench.told(parent, '/random'))
  for (const name of [request.name, child.name]) await bench.driver.destroy(name)
}

async function identitiesDiffer(
  t: Test,
  bench: Bench,
  instances: readonly HeldInstance[],
  before: Record<string, unknown>,
): Promise<void> {
  const drawn = [before]
  const machines: unknown[] = []
  const source = instances[0]!.name
  for (const instance of instances) {
    const { name } = instance
    const from = { instance_id: source, at: new Date(copiedAtMs).toISOString() }
    const me = await bench.told(instance, '/whoami')
    t.match(me, { instance_id: name, incarnation: `inc-${name}` }, `${name} knows who it is`)
    if (name !== source) t.match(me, { cloned_from: from }, 'and whose copy, as of when')
    if (bench.options.grows) {
      t.equal(me.host_name, name, 'as its machine does')
      machines.push(me.machine_id)
    }
    drawn.push(await bench.told(instance, '/random'))
  }
  for (const key of ['bytes', 'uuid', 'int']) {
    t.equal(new Set(drawn.map(random => random[key])).size, drawn.length, `no two drew the same ${key}`)
  }
  for (const id of machines) t.match(id, /^[0-9a-f]{32}$/)
  t.equal(new Set(machines).size, machines.length, 'no two machines have one id')
}

async function failedSnapshots(t: Test, bench: Bench, source: HeldInstance): Promise<void> {
  const { driver } = bench
  const request = { name: 'web-op1-s', owner, source: source.name }

  const early = AbortSignal.abort(new Error('early'))
  await t.rejects(driver.snapshot(request, early), { message: 'early' }, 'aborted before it began')
  await stillServes(t, bench, source)

  const stop = new AbortController()
  const aborted = driver.snapshot(request, stop.signal)
  aborted.catch(() => {})
  await until('the snapshot is begun', () => bench.files('snapshots').includes(request.name))
  stop.abort(new Error('midway'))
  await t.rejects(aborted, { message: 'midway' }, 'aborted in the middle')
  await stillServes(t, bench, source)

  await bench.ground.full(t, async () => {
    await t.rejects(
      driver.snapshot(request, bench.signal()),
      { code: 'disk_full' },
      'no space for the snapshot',
    )
    await stillServes(t, bench, source)
  })
  t.equal((await driver.snapshot(request, bench.signal())).snapshot.complete, true, 'and it works again')
  await driver.destroy(request.name)
  t.same(bench.files('snapshots'), [], 'no file of it is left')
}

async function stillServes(t: Test, bench: Bench, source: HeldInstance): Promise<void> {
  t.match(await bench.told(source, '/count'), { count: bulkSessions + 1 }, 'the source serves on')
  t.equal((await bench.held(source.name))?.state, 'running', 'and is running')
  t.same(bench.files('snapshots'), [], 'nothing is left of the snapshot')
}

async function killedSource(t: Test, bench: Bench, source: HeldInstance): Promise<void> {
  const { driver } = bench
  const taken = driver.snapshot({ name: 'web-op1-s', owner, source: source.name }, bench.signal())
  taken.catch(() => {})
  await until('the snapshot is begun', () => bench.files('snapshots').includes('web-op1-s'))
  bench.ground.kill(source)
  await t.rejects(taken, TidegateError, 'the snapshot fails')
  t.same(bench.files('snapshots'), [], 'and leaves nothing')
  await until('it is said to be dead', async () => (await bench.held(source.name))?.state === 'stopped')
  await t.rejects(driver.resume(source.name), TidegateError, 'the dead are not resumed')
  await t.rejects(
    driver.identify(source.name, identity('web-op1-1', 'created'), bench.signal()),
    TidegateError,
  )
  await driver.destroy(source.name)
  t.equal(await bench.held(source.name), undefined, 'nothing is left of it')
}

async function abortedCreate(t: Test, bench: Bench): Promise<void> {
  const { driver } = bench
  const early = AbortSignal.abort(new Error('early'))
  await t.rejects(driver.create(bench.spec('web-op1-1'), early), { message: 'early' })
  await nothingLeft(t, bench)

  const stop = new AbortController()
  const create = driver.create(bench.spec('web-op1-1'), stop.signal)
  create.catch(() => {})
  await until('its process runs', () => bench.processes().length > 0)
  stop.abort(new Error('midway'))
  await t.rejects(create, { message: 'midway' })
  await nothingLeft(t, bench)
}

async function abortedClone(t: Test, bench: Bench, source: HeldInstance): Promise<void> {
  const { driver } = bench
  await driver.snapshot({ name: 'web-op1-s', owner, source: source.name }, bench.signal())
  const before = { files: bench.files('instances'), processes: bench.processes() }
  const stop = new AbortController()
  const clone = driver.clone(bench.cloneSpec('web-op1-4', 'web-op1-s'), stop.signal)
  clone.catch(() => {})
  await until('its process runs', () => bench.processes().some(pid => !before.processes.includes(pid)))
  stop.abort(new Error('midway'))
  await t.rejects(clone, { message: 'midway' })
  t.equal(await bench.held('web-op1-4'), undefined, 'no clone is left')
  t.same(bench.files('instances'), before.files, 'no file of it is left')
  await until('no process of it is left', () =>
    bench.processes().every(pid => before.processes.includes(pid)),
  )
  t.equal((await driver.inspect()).snapshots[0]?.complete, true, 'the snapshot is unharmed')
  await driver.destroy('web-op1-s')
}

/** The kernel still lists a killed process and its sockets for a moment. */
async function nothingLeft(t: Test, bench: Bench): Promise<void> {
  t.same([...bench.files('instances'), ...bench.files('snapshots')], [], 'no file is left')
  await until('no process is left', () => bench.processes().length === 0)
  await until('no socket is left', () => bench.ground.sockets().length === 0)
}
