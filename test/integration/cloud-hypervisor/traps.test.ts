/** What Cloud Hypervisor does that one would not expect, each by the name of what would go wrong. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { systemClock } from '../../../lib/clock.ts'
import { doubleBench } from '../../support/cloud-hypervisor/bench.ts'
import { doubleBinary } from '../../support/cloud-hypervisor/binary.ts'
import { ask, type Bench, owner, told } from '../../support/driver-bench.ts'
import { until } from '../../support/wait.ts'

const name = 'web-op1-1'
const snapshot = { name: 'web-op1-s', owner, source: name }

const fileOf = (bench: Bench, instance: string, file: string) =>
  join(bench.directory, 'instances', instance, file)

t.test(
  'an API that is busy saving is taken for neither dead nor unknown, and the source runs on',
  async t => {
    const release = join(mkdtempSync(join(tmpdir(), 'ch-release-')), 'go')
    t.teardown(() => rmSync(join(release, '..'), { recursive: true, force: true }))
    const { bench } = doubleBench(t, { snapshotWritesUntil: release })
    await bench.running(name)
    const taken = bench.driver.snapshot(snapshot, bench.signal())
    await until('it is being saved', () =>
      readFileSync(fileOf(bench, name, 'events.json'), 'utf8').includes('snapshotted'),
    )
    const [held] = (await bench.driver.inspect()).instances
    t.match(held, { name, state: 'paused' }, 'its last event tells')
    t.ok(held?.pid)
    writeFileSync(release, '')
    t.equal((await taken).snapshot.complete, true)
    t.equal((await bench.held(name))?.state, 'running')
  },
)

t.test('a refused snapshot leaves the source running and nothing else', async t => {
  const { bench } = doubleBench(t, { refuse: { 'vm.snapshot': 'Could not get vCPU state' } })
  const source = await bench.running(name)
  const taken = bench.driver.snapshot(snapshot, bench.signal())
  await t.rejects(taken, { code: 'hypervisor_failed', message: /\(500\): .*vCPU state/ })
  t.same(bench.files('snapshots'), [])
  await bench.answers(source)
  t.equal((await bench.held(name))?.state, 'running')
})

t.test('disks and memory are a clone’s own; another version reads no snapshot', async t => {
  const { bench, driverOf } = doubleBench(t, {})
  const { driver } = bench
  const source = await bench.running(name)
  writeFileSync(fileOf(bench, name, 'disk-0.raw'), 'of the source')
  await driver.snapshot(snapshot, bench.signal())
  writeFileSync(fileOf(bench, name, 'disk-0.raw'), 'changed later')
  const memory = join(bench.directory, 'snapshots', snapshot.name, 'ram')
  const before = statSync(memory).mtimeMs
  const clone = await driver.clone(bench.cloneSpec('web-op1-2', snapshot.name), bench.signal())
  await bench.answers(clone)
  t.equal(readFileSync(fileOf(bench, clone.name, 'disk-0.raw'), 'utf8'), 'of the source')
  await ask(clone, '/sessions/own', 'of the clone')
  t.equal((await ask(source, '/sessions/own')).status, 404)
  await driver.pause(clone.name)
  await driver.resume(clone.name)
  t.equal(statSync(memory).mtimeMs, before, 'nobody writes to the memory that clones map')
  t.equal(clone.snapshot, snapshot.name, 'whose files it rests on')

  const other = driverOf(bench.directory, doubleBinary(t, { version: '54.0.0' }))
  const refused = other.clone(bench.cloneSpec('web-op1-3', snapshot.name), bench.signal())
  await t.rejects(refused, { code: 'snapshot_unusable', message: /v53\.0\.0.*v54\.0\.0/ })
  t.equal(await bench.held('web-op1-3'), undefined)
})

t.test(
  'memory in no file: restored by version, and 52 saves nothing that is still being filled in',
  async t => {
    const { bench } = doubleBench(t, { version: '52.0.0' }, { template: { memory_backing: 'anonymous' } })
    const { driver } = bench
    const source = await bench.running(name)
    await ask(source, '/sessions/kept', 'in memory')
    await driver.snapshot(snapshot, bench.signal())
    const clone = await driver.clone(bench.cloneSpec('web-op1-2', snapshot.name), bench.signal())
    await bench.answers(clone)
    t.match(await told(clone, '/sessions/kept'), { value: 'in memory' })
    const second = driver.snapshot({ ...snapshot, name: 'web-op2-s', source: clone.name }, bench.signal())
    await t.rejects(second, { code: 'snapshot_failed', message: /52\.0\.0 would save it damaged/ })
    t.equal((await bench.held(clone.name))?.state, 'running')
  },
)

t.test('where no kernel comes up, doctor says so and a create is refused at once', async t => {
  const { bench } = doubleBench(t, { noBoot: true })
  const create = bench.driver.create(bench.spec(name), bench.signal())
  await t.rejects(create, {
    code: 'hypervisor_failed',
    message: /cannot boot a VM here: .*said nothing.*qemu driver/,
  })
  t.same(bench.files('instances'), [])
  const row = (await bench.driver.check(bench.options.template)).find(line => line.name === 'kvm')
  t.match(row, { ok: false, fix: /driver: qemu/ })
})

t.test('an image or a hypervisor that it cannot be is refused before anything is started', async t => {
  const { bench, driverOf } = doubleBench(t, {})
  const { template, resources } = bench.options
  const nothing = (template.kernel as string).replace('kernel', 'nothing')
  const faults: [object, string, RegExp][] = [
    [
      { template: { ...template, kernel: nothing } },
      'image_missing',
      /nothing cannot be read; .*build-image/,
    ],
    [
      { template: { ...template, disks: [{ path: nothing }] } },
      'image_missing',
      /it is a disk of the template/,
    ],
    [
      { template: { ...template, kernel: template.initrd } },
      'template_invalid',
      /no Linux kernel; give a Linux/,
    ],
    [
      { resources: { ...resources, memoryBytes: 2 ** 24 } },
      'template_invalid',
      /memory: 16 MiB is too little/,
    ],
  ]
  for (const [change, code, message] of faults) {
    const create = bench.driver.create({ ...bench.spec(name), ...change }, bench.signal())
    await t.rejects(create, { code, message })
  }
  for (const version of ['50.2.0', 'main']) {
    const other = driverOf(bench.directory, doubleBinary(t, { version }))
    const unsupported = { code: 'hypervisor_unsupported', message: /51\.0 or later is needed, and this one/ }
    await t.rejects(other.create(bench.spec(name), bench.signal()), unsupported, version)
    const [row] = await other.check(null)
    t.match(row, { name: 'cloud-hypervisor', ok: false, code: 'hypervisor_unsupported' }, version)
  }
  t.same(bench.files('instances'), [])
})

t.test('a boot without an agent says how far the guest came', async t => {
  for (const [sentBytes, message] of [
    [0, /did not answer within 1000 ms of its start; its guest has sent nothing: its network did not/],
    [1500, /its guest has sent 1500 bytes and received 0: its network is up, the agent is not/],
  ] as const) {
    const { bench } = doubleBench(t, { noAgent: { sentBytes } }, { bootTimeoutMs: 1_000 })
    const create = bench.driver.create(bench.spec(name), bench.signal())
    await t.rejects(create, { code: 'guest_unreachable', message })
    t.same(bench.files('instances'), [])
  }
})

t.test('an act that is still under way says what was last told of it', async t => {
  let pace = 1
  const clock = { ...systemClock, after: (ms: number, act: () => void) => systemClock.after(ms / pace, act) }
  const { bench } = doubleBench(t, { slowMs: { 'vm.pause': 1_500 } }, { clock })
  await bench.running(name)
  pace = 50
  const pause = bench.driver.pause(name)
  await t.rejects(pause, { code: 'step_timeout', message: /may still be at it; the last .* is: vm booted/ })
  pace = 1
  await until('it is paused in the end', async () => (await bench.held(name))?.state === 'paused')
})

t.test('a stranger on the socket is told nothing', async t => {
  const { bench } = doubleBench(t, { pid: 1 })
  const create = bench.driver.create(bench.spec(name), bench.signal())
  const message = /api\.sock is a foreign socket: the process 1 and not the Cloud Hypervisor that was started/
  await t.rejects(create, { code: 'hypervisor_failed', message })
  t.same(bench.files('instances'), [])
  t.same(bench.processes(), [])
})
