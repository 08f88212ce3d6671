/** Which processes are an instance's own: all of them are ended, and nobody else's ever is. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Bench } from '../../../support/driver-bench.ts'
import { owner } from '../../../support/driver-bench.ts'
import { benchOf } from '../../../support/process-apps.ts'
import { until } from '../../../support/wait.ts'

const name = 'web-op1-1'

t.test('a process that got the id of a dead instance is neither mistaken for it nor killed', async t => {
  const bench = benchOf(t, 'serve()')
  const { pid } = await bench.driver.create(bench.spec(name), bench.signal())
  process.kill(pid!, 'SIGKILL')
  await until('it is dead', async () => (await bench.held(name))?.state === 'stopped')
  const stranger = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' })
  const ended = once(stranger, 'exit')
  rewrite(bench, fields => ({ ...fields, process: { ...(fields.process as object), pid: stranger.pid } }))
  t.match(await bench.held(name), { state: 'stopped', pid: null })
  await bench.driver.stop(name, 100)
  await bench.driver.destroy(name)
  t.equal(stranger.exitCode ?? stranger.signalCode, null, 'the stranger lives')
  stranger.kill('SIGKILL')
  await ended
})

t.test('a process of another boot is not ours', async t => {
  const bench = benchOf(t, 'serve()')
  const { pid } = await bench.driver.create(bench.spec(name), bench.signal())
  rewrite(bench, fields => ({ ...fields, process: { ...(fields.process as object), boot: 'before' } }))
  t.match(await bench.held(name), { state: 'stopped' })
  process.kill(pid!, 'SIGKILL')
  await bench.driver.destroy(name)
})

t.test('a process started just before a crash, and never recorded, is found by its mark', async t => {
  const bench = benchOf(t, 'serve()')
  const { pid } = await bench.driver.create(bench.spec(name), bench.signal())
  rewrite(bench, fields => ({ ...fields, process: null }))
  const again = bench.options.makeDriver(bench.directory)
  t.match((await again.inspect()).instances, [{ name, owner, state: 'running', pid }])
  await again.destroy(name)
  t.same(bench.processes(), [])
})

t.test('instances outlive the process that made them, killed outright', async t => {
  const bench = benchOf(t, 'serve()')
  const library = (path: string) => JSON.stringify(join(import.meta.dirname, '../../../../lib', path))
  const program = `
    import { systemClock } from ${library('clock.ts')}
    import { silentLog } from ${library('log.ts')}
    import { createProcessDriver } from ${library('hypervisor/process/driver.ts')}
    const [directory, spec] = JSON.parse(process.env.ARGUMENTS)
    const node = { id: 'local', driver: 'process', zone: 'a', capacity: spec.resources, directory, options: {} }
    const driver = createProcessDriver(node, { clock: systemClock, log: silentLog })
    await driver.create(spec, AbortSignal.timeout(20_000))
    process.kill(process.pid, 'SIGKILL')
  `
  const maker = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: 'inherit',
    env: { ARGUMENTS: JSON.stringify([bench.directory, bench.spec(name)]) },
  })
  t.equal((await once(maker, 'exit'))[1], 'SIGKILL', 'the maker was killed after it made the instance')
  const held = await bench.held(name)
  t.match(held, { state: 'running', owner })
  await bench.answers(held!)
  await bench.driver.stop(name, 2_000)
  t.match(await bench.held(name), { state: 'stopped' })
  await bench.driver.destroy(name)
})

t.test(
  'what an instance started ends with it, in its group and out of it, deaf to SIGTERM or not',
  async t => {
    const bench = benchOf(
      t,
      `
    process.on('SIGTERM', () => write('heard'))
    spawn('sleep', ['60'])
    spawn('setsid', ['sleep', '60'])
    serve()
  `,
    )
    await bench.driver.create(bench.spec(name), bench.signal())
    await until('all three run', () => bench.processes().length === 3)
    await bench.driver.stop(name, 200)
    t.same(bench.processes(), [])
    t.equal(readFileSync(join(bench.directory, 'said'), 'utf8'), 'heard\n', 'it was asked first')
    await bench.driver.destroy(name)
  },
)

t.test('a stopped process is paused; it is not cloned, can be resumed, and can be ended', async t => {
  const bench = benchOf(t, `guest({ handOver: () => 1, takeBack: () => {} }); serve()`)
  const { pid } = await bench.driver.create(bench.spec(name), bench.signal())
  const pause = async () => {
    process.kill(pid!, 'SIGSTOP')
    await until('it is paused', async () => (await bench.held(name))?.state === 'paused')
  }
  await pause()
  const request = { name: 'web-op1-s', owner, source: name }
  await t.rejects(bench.driver.snapshot(request, bench.signal()), {
    code: 'snapshot_failed',
    message: /resume/,
  })
  await bench.driver.resume(name)
  await until('it runs', async () => (await bench.held(name))?.state === 'running')
  t.equal((await bench.driver.snapshot(request, bench.signal())).snapshot.complete, true)
  await pause()
  await bench.driver.stop(name, 5_000)
  t.equal((await bench.held(name))?.state, 'stopped')
  for (const each of [name, request.name]) await bench.driver.destroy(each)
})

t.test('a log that grew too long is cut when somebody looks', async t => {
  const bench = benchOf(t, 'serve()')
  await bench.driver.create(bench.spec(name), bench.signal())
  const log = join(bench.directory, 'instances', name, 'log')
  truncateSync(log, 15 * 2 ** 20)
  await bench.driver.inspect()
  t.equal(statSync(log).size, 15 * 2 ** 20)
  truncateSync(log, 17 * 2 ** 20)
  await bench.driver.inspect()
  t.equal(statSync(log).size, 0)
  await bench.driver.destroy(name)
})

function rewrite(bench: Bench, change: (fields: Record<string, unknown>) => Record<string, unknown>): void {
  const path = join(bench.directory, 'instances', name, 'owner.json')
  const record = JSON.parse(readFileSync(path, 'utf8'))
  writeFileSync(path, JSON.stringify({ ...record, fields: change(record.fields) }))
}
