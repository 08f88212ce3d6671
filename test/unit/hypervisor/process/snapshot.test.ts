/** Snapshots and clones of the process driver that cannot be, each with an application that makes them so. */
import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { identity, owner } from '../../../support/driver-bench.ts'
import { benchOf } from '../../../support/process-apps.ts'
import { until } from '../../../support/wait.ts'

const name = 'web-op1-1'
const request = { name: 'web-op1-s', owner, source: name }

for (const [title, code] of Object.entries({
  'an application without the guest library': 'serve()',
  'an application without hooks': 'guest(); serve()',
})) {
  t.test(`${title} runs, and is told how to become clonable`, async t => {
    const bench = benchOf(t, code)
    await bench.driver.create(bench.spec(name), bench.signal())
    const ack = await bench.driver.identify(name, identity(name, 'created'), bench.signal())
    t.equal(ack.application, 'no_hook')
    const refused = { code: 'guest_unreachable', message: /handOver.*docs\/guest\.md/ }
    await t.rejects(bench.driver.snapshot(request, bench.signal()), refused)
    t.same(bench.files('snapshots'), [], 'nothing is left of the snapshot')
    t.equal((await bench.held(name))?.state, 'running')
    await bench.driver.destroy(name)
  })
}

t.test('a source that dies while its state is awaited', async t => {
  const bench = benchOf(
    t,
    `guest({ handOver: () => { write('asked'); return new Promise(() => {}) } }); serve()`,
  )
  const { pid } = await bench.driver.create(bench.spec(name), bench.signal())
  const taken = bench.driver.snapshot(request, bench.signal())
  taken.catch(() => {})
  await until(
    'the state is asked for',
    () => readFileSync(join(bench.directory, 'said'), 'utf8') === 'asked\n',
  )
  process.kill(pid!, 'SIGKILL')
  await t.rejects(taken, { code: 'instance_died' })
  t.same(bench.files('snapshots'), [], 'nothing is left of the snapshot')
  await bench.driver.destroy(name)
})

t.test('a hook that throws fails the snapshot with its words', async t => {
  const bench = benchOf(t, `guest({ handOver: () => { throw new Error('in a transaction') } }); serve()`)
  await bench.driver.create(bench.spec(name), bench.signal())
  await t.rejects(bench.driver.snapshot(request, bench.signal()), { message: /in a transaction/ })
  t.same(bench.files('snapshots'), [])
  t.equal((await bench.held(name))?.state, 'running')
  await bench.driver.destroy(name)
})

t.test('a clone that will not take the state is no clone', async t => {
  const bench = benchOf(
    t,
    `guest({ handOver: () => ({ version: 1 }), takeBack: () => { throw new Error('a state of version 1') } }); serve()`,
  )
  await bench.driver.create(bench.spec(name), bench.signal())
  await bench.driver.snapshot(request, bench.signal())
  const clone = bench.driver.clone(bench.cloneSpec('web-op1-2', request.name), bench.signal())
  await t.rejects(clone, { message: /a state of version 1/ })
  t.equal(await bench.held('web-op1-2'), undefined, 'nothing is left of the clone')
  t.equal(bench.processes().length, 1, 'only the source runs')
  for (const each of [name, request.name]) await bench.driver.destroy(each)
})

t.test('a clone has its state before it is handed to anybody', async t => {
  const bench = benchOf(
    t,
    `
    let state = 'empty'
    guest({
      handOver: () => 'kept',
      takeBack: async back => {
        await new Promise(resolve => setTimeout(resolve, 300))
        state = back
      },
    })
    createServer((_, response) => response.end(JSON.stringify(state))).listen(process.env.PORT, process.env.HOST)
  `,
  )
  await bench.driver.create(bench.spec(name), bench.signal())
  await bench.driver.snapshot(request, bench.signal())
  const { address } = await bench.driver.clone(bench.cloneSpec('web-op1-2', request.name), bench.signal())
  const answer = await fetch(`http://127.0.0.1:${address!.port}`)
  t.equal(await answer.json(), 'kept')
  for (const each of [name, 'web-op1-2', request.name]) await bench.driver.destroy(each)
})

t.test('an unfinished or damaged snapshot is not cloned, and can be destroyed', async t => {
  const bench = benchOf(t, 'guest({ handOver: () => 1, takeBack: () => {} }); serve()')
  await bench.driver.create(bench.spec(name), bench.signal())
  await bench.driver.snapshot(request, bench.signal())
  const directory = join(bench.directory, 'snapshots', request.name)
  appendFileSync(join(directory, 'state'), 'more')
  const clone = () => bench.driver.clone(bench.cloneSpec('web-op1-2', request.name), bench.signal())
  await t.rejects(clone(), { code: 'snapshot_unusable', message: /damaged/, details: { why: 'size' } })
  // Of the right length, and another content.
  writeFileSync(join(directory, 'state'), '2')
  await t.rejects(clone(), { code: 'snapshot_unusable', message: /checksum/, details: { why: 'checksum' } })
  rmSync(join(directory, 'state'))
  await t.rejects(clone(), { code: 'snapshot_unusable' })
  const { instances } = await bench.driver.inspect()
  t.same(
    instances.map(held => held.name),
    [name],
    'nothing was started',
  )

  // As a crash in the middle leaves it.
  const record = JSON.parse(readFileSync(join(directory, 'owner.json'), 'utf8'))
  record.fields.state = null
  writeFileSync(join(directory, 'owner.json'), JSON.stringify(record))
  t.match((await bench.driver.inspect()).snapshots, [
    { name: request.name, owner, complete: false, source: name },
  ])
  await t.rejects(clone(), { code: 'snapshot_failed', message: /not complete/ })
  for (const each of [name, request.name]) await bench.driver.destroy(each)
  t.same(await bench.driver.inspect(), { instances: [], snapshots: [] })
})
