/** Golden snapshots: when one is made, what it is a version of, when it is given up and when it is collected. */

import { utimesSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { systemClock } from '../../../../lib/clock.ts'
import { type GoldenValue, goldenKey } from '../../../../lib/scaling/facts.ts'
import { goldenInputs } from '../../../../lib/scaling/readiness/golden.ts'
import { warm } from '../../../../lib/scaling/readiness/warm.ts'
import { Lab } from '../../../support/scaling-lab.ts'

const { instance } = new Lab().config
const golden = { cluster: { instance: { ...instance!, cloneFrom: 'golden' } } } as const

async function started() {
  const lab = new Lab(golden)
  await lab.boot()
  const [node] = lab.nodes
  const value = async () => (await lab.store.value(goldenKey('web'))) as GoldenValue | null
  return { lab, node: node!, value }
}

t.test('its version is the hash of its inputs', async t => {
  const directory = t.testdir({ 'app.js': 'one' })
  const of = (over = {}) =>
    goldenInputs({ ...instance!, template: { command: ['node', 'app.js'], cwd: directory }, ...over })
  const first = await of()
  t.match(first, /^[0-9a-f]{32}$/)
  t.equal(await of(), first)
  t.equal(await of({ cloneFrom: 'golden' }), first, 'what it is for is no input')
  t.not(await of({ port: 8081 }), first)
  t.not(await of({ warmRequests: [{ method: 'GET', path: '/', expectStatus: [] }] }), first)
  t.not(await of({ template: { command: ['node', 'app.js', '-v'], cwd: directory } }), first)
  utimesSync(join(directory, 'app.js'), 1, 1)
  const touched = await of()
  t.not(touched, first, 'a file that the template names has another time')
  writeFileSync(join(directory, 'app.js'), 'another')
  t.not(await of(), touched)
})

t.test('the first cold boot is saved before it serves; the next ones are its clones', async t => {
  const { lab, node, value } = await started()
  const kept = await value()
  t.match(kept, { node: 'n1', snapshot: /-golden$/, bytes: 1000 })
  t.strictSame([...node.snapshots.keys()], [kept!.snapshot])
  const operation = await lab.scaleTo(3)
  const { source, createdAtMs } = node.snapshots.get(kept!.snapshot)!
  for (const name of operation.instances) {
    t.equal(node.instances.get(name)!.snapshot, kept!.snapshot)
    const told = node.instances.get(name)!.identity
    t.match(told, { reason: 'cloned', clonedFrom: { instanceId: source, atMs: createdAtMs } })
    const lineage = [{ instance: source, incarnation: null, asOfMs: createdAtMs }]
    t.strictSame(lab.scaling.instance(name)!.lineage, lineage, 'a golden one is nobody whom clients knew')
  }
  await lab.close()
})

t.test('one that is undone makes way for the one before it', async t => {
  const { lab, node, value } = await started()
  const former = await value()
  await lab.reconfigure({ instance: { ...golden.cluster.instance, template: { release: 2 } } })
  const { id } = lab.backends()[0]!
  const kept: unknown[] = []
  lab.events.subscribe(({ event }) => {
    if (event.type !== 'operation_step' || event.status !== 'done' || event.step !== 'register') return
    kept.push(...node.snapshots.keys())
    for (const one of node.instances.values()) one.healthy = one.name === id
  })
  const operation = await lab.operate({ type: 'replace', instance_id: id })
  t.match(operation, { status: 'failed', phase: 'rolled_back' })
  t.equal(kept.length, 2, 'another one was kept')
  t.strictSame(await value(), former)
  t.strictSame([...node.snapshots.keys()], [former!.snapshot])
  await lab.close()
})

t.test('an application that cannot be saved serves all the same', async t => {
  const lab = new Lab(golden)
  lab.faults.driver = point => (point === 'snapshot:paused' ? 'fail' : null)
  await lab.boot()
  t.match(lab.backends(), [{ state: 'ready' }])
  t.equal(await lab.store.value(goldenKey('web')), null)
  const [operation] = await lab.scaling.list({ cluster: 'web' })
  const step = operation!.steps.find(({ step }) => step === 'keep_golden')
  t.match(step, { status: 'done', data: { kept: null, code: 'hypervisor_failed', reason: String } })
  lab.faults = {}
  t.match(await lab.scaleTo(2), { status: 'completed' })
  t.match(await lab.store.value(goldenKey('web')), { snapshot: /-golden$/ }, 'the next boot is saved')
  await lab.close()
})

t.test('one that is damaged is given up for a cold boot, and the next one is saved', async t => {
  const { lab, node, value } = await started()
  const { snapshot } = (await value())!
  node.snapshots.get(snapshot)!.damaged = true
  const operation = await lab.scaleTo(3)
  t.match(operation, { status: 'completed', error: null })
  for (const name of operation.instances) {
    t.match(node.instances.get(name)!.memory, [`booted ${name}`])
    t.equal(node.instances.get(name)!.identity?.reason, 'created')
  }
  const { instances } = await lab.store.membership()
  t.ok(instances.every(({ origin }) => origin === 'created'))
  t.equal(await value(), null)
  await lab.scaleTo(4)
  t.not((await value())!.snapshot, snapshot)
  await lab.time.pass(60_000)
  await lab.time.until(lab.scaling.reconcile())
  t.strictSame([...node.snapshots.keys()], [(await value())!.snapshot], 'the damaged one was collected')
  await lab.close()
})

t.test('a superseded one is collected when no clone rests on it any more', async t => {
  const { lab, node, value } = await started()
  const old = (await value())!
  await lab.scaleTo(2)
  await lab.store.write([{ put: 'value', key: goldenKey('web'), value: { ...old, inputs: 'of before' } }])
  await lab.scaleTo(3)
  const current = (await value())!
  t.not(current.snapshot, old.snapshot, 'no clone is made of it')
  await lab.time.pass(60_000)
  await lab.time.until(lab.scaling.reconcile())
  t.strictSame([...node.snapshots.keys()], [old.snapshot, current.snapshot], 'a clone still rests on it')
  const [clone] = [...node.instances.values()].filter(one => one.snapshot === old.snapshot)
  await lab.operate({ type: 'replace', instance_id: clone!.name })
  await lab.time.until(lab.scaling.reconcile())
  t.strictSame([...node.snapshots.keys()], [current.snapshot])
  await lab.close()
})

t.test('warm requests', async t => {
  const seen: string[] = []
  const server = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`)
    if (request.url === '/silent') return
    response.statusCode = request.url === '/teapot' ? 418 : 200
    response.end(request.url === '/large' ? Buffer.alloc(3 * 1024 * 1024) : 'fine')
  }).listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const target = { host: '127.0.0.1', port: (server.address() as AddressInfo).port }
  const ok = [{ from: 200, to: 399 }]
  const ask = (...paths: string[]) =>
    warm(
      { clock: systemClock },
      target,
      paths.map(path => ({ method: 'GET', path, expectStatus: ok })),
      new AbortController().signal,
    )
  await ask('/a?b=c', '/large', '/b')
  t.strictSame(seen, ['GET /a?b=c', 'GET /large', 'GET /b'], 'one after another')
  await t.rejects(ask('/teapot', '/never'), {
    code: 'instance_unhealthy',
    message: /GET \/teapot was answered with 418/,
  })
  t.notOk(seen.includes('GET /never'))
  const clock = { ...systemClock, after: (_ms: number, fn: () => void) => systemClock.after(1, fn) }
  const silent = [{ method: 'GET', path: '/silent', expectStatus: ok }] as const
  const none = new AbortController().signal
  await t.rejects(warm({ clock }, target, silent, none), { message: /not answered within 10000 ms/ })
  const reason = new Error('enough')
  await t.rejects(warm({ clock: systemClock }, target, silent, AbortSignal.abort(reason)), reason)
})
