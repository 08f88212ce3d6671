/** Lines reach their file in the background, follow it when it is moved, and are dropped rather than waited for. */
import { spawn, spawnSync } from 'node:child_process'
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { systemClock } from '../../../../lib/clock.ts'
import type { AccessLogConfig } from '../../../../lib/config/config.ts'
import { AccessLog, blockBytes, blocksMax } from '../../../../lib/proxy/observe/access-log.ts'
import { ManualClock } from '../../../support/manual-clock.ts'
import { accessLogOf, observing, recordOf } from '../../../support/observation.ts'
import { until } from '../../../support/wait.ts'

function logging(t: Test, path: string, over: Partial<AccessLogConfig> = {}, random?: () => number) {
  const clock = new ManualClock()
  const observed = observing(clock, random)
  const log = new AccessLog(accessLogOf(path, over), { ...observed.shared, baton: observed.baton })
  t.teardown(() => {
    void log.close()
    return clock.advance(10_000)
  })
  return { ...observed, log, clock, facts: () => observed.counters.thread(0) }
}

const lines = (path: string) =>
  existsSync(path)
    ? readFileSync(path, 'latin1')
        .split('\n')
        .slice(0, -1)
        .map(line => JSON.parse(line))
    : []

t.test('a line is in the file 200 ms after it was said, and at once when the log is closed', async t => {
  const path = join(t.testdir(), 'access.log')
  const { log, clock, facts } = logging(t, path)
  log.record(recordOf({ target: '/one' }))
  log.record(recordOf({ target: '/two' }))
  await until('the file is open', () => existsSync(path))
  t.strictSame(lines(path), [], 'gathered first')
  await clock.advance(200)
  await until('both are written', () => lines(path).length === 2)
  t.strictSame(
    lines(path).map(line => line.target),
    ['/one', '/two'],
  )
  log.record(recordOf({ target: '/three' }))
  await log.close()
  t.equal(lines(path).at(-1).target, '/three')
  t.strictSame([facts().logLines, facts().logDropped], [3, 0])
})

t.test('the sample leaves lines out, but never those that failed or were slow', async t => {
  const path = join(t.testdir(), 'access.log')
  let chance = 0.9
  const { log } = logging(t, path, { sample: 0.5, slowMs: 500 }, () => chance)
  log.record(recordOf({ target: '/left-out' }))
  log.record(recordOf({ target: '/500', status: 500 }))
  log.record(recordOf({ target: '/gone', status: 200, error: 'client_closed', ending: 'CD' }))
  log.record(recordOf({ target: '/slow', endMs: 1_500 }))
  chance = 0.4
  log.record(recordOf({ target: '/chosen' }))
  await log.close()
  t.strictSame(
    lines(path).map(line => line.target),
    ['/500', '/gone', '/slow', '/chosen'],
  )
})

t.test('`errors: sample` treats them like any other', async t => {
  const path = join(t.testdir(), 'access.log')
  const { log } = logging(t, path, { sample: 0.5, errors: 'sample' }, () => 0.9)
  log.record(recordOf({ status: 500, error: 'internal' }))
  await log.close()
  t.strictSame(lines(path), [])
})

t.test('a file that was moved away is left, and a new one begun, within a second', async t => {
  const path = join(t.testdir(), 'access.log')
  const { log, clock } = logging(t, path)
  log.record(recordOf({ target: '/old' }))
  await clock.advance(200)
  await until('written', () => lines(path).length === 1)
  renameSync(path, `${path}.1`)
  log.record(recordOf({ target: '/still-old' }))
  await clock.advance(200)
  await until('written to the moved file', () => lines(`${path}.1`).length === 2)
  await clock.advance(1_000)
  await until('opened anew', () => existsSync(path))
  log.record(recordOf({ target: '/new' }))
  await clock.advance(200)
  await until('written to the new file', () => lines(path).length === 1)
  t.equal(lines(path)[0].target, '/new')
})

t.test('`reopen` does the same at once', async t => {
  const path = join(t.testdir(), 'access.log')
  const { log } = logging(t, path)
  await until('open', () => existsSync(path))
  // Nothing was written yet: the tick would not look.
  rmSync(path)
  log.reopen()
  await until('opened anew', () => existsSync(path))
  log.record(recordOf({ target: '/new' }))
  await log.close()
  t.equal(lines(path)[0].target, '/new')
})

t.test(
  'a file that cannot be opened is tried again each second, said once, and nothing is lost meanwhile',
  async t => {
    const folder = t.testdir()
    const path = join(folder, 'later', 'access.log')
    const { log, clock, said, facts } = logging(t, path)
    log.record(recordOf({ target: '/kept' }))
    await until('said', () => said.length === 1)
    await clock.advance(3_000)
    t.strictSame(
      said.map(({ level, message }) => `${level}: ${message}`),
      ['error: the access log cannot be written; trying again'],
    )
    spawnSync('mkdir', [join(folder, 'later')])
    await until('written', async () => {
      await clock.advance(1_000)
      return facts().logLines === 1
    })
    t.equal(lines(path).length, 1)
    t.strictSame([said.at(-1)?.level, facts().logDropped], ['info', 0])
  },
)

t.test('a full disk costs lines, and what they were is counted and said once a second', async t => {
  const { log, clock, said, facts } = logging(t, '/dev/full')
  const long = recordOf({ target: `/${'x'.repeat(2_000)}` })
  const fitting = Math.floor(blockBytes / 2_300) * blocksMax
  for (let i = 0; i < fitting * 2; i++) log.record(long)
  const dropped = facts().logDropped
  t.ok(dropped > fitting / 2 && dropped < fitting * 1.5, `${dropped} of ${fitting * 2}`)
  await until('said', () => said.length > 0)
  await clock.advance(1_000)
  t.strictSame(
    said.map(({ level }) => level),
    ['error', 'warn'],
  )
  t.equal(said[1]?.facts.lines, dropped)
  await clock.advance(5_000)
  t.equal(said.length, 2, 'nothing new, nothing said')
  const closed = log.close()
  await clock.advance(2_000)
  await closed
  t.equal(facts().logDropped, fitting * 2, 'what waited is lost and counted')
})

t.test('a pipe whose reader stops does not stop us, and goes on when it reads', async t => {
  const path = join(t.testdir(), 'pipe')
  spawnSync('mkfifo', [path])
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const { log, clock, facts } = logging(t, path)
  // More than a pipe holds (64 KiB): the rest waits here.
  const count = 1_000
  for (let i = 0; i < count; i++) log.record(recordOf({ target: `/${i}` }))
  await clock.advance(200)
  await until('the pipe is full', () => facts().logLines > 0)
  let read = ''
  const bytes = Buffer.alloc(64 * 1024)
  await until('all arrived', async () => {
    await clock.advance(20)
    try {
      read += bytes.toString('latin1', 0, readSync(reader, bytes))
    } catch {
      // Nothing there just now.
    }
    return read.split('\n').length === count + 1
  })
  closeSync(reader)
  const targets = read.split('\n', count).map(line => JSON.parse(line).target)
  t.strictSame(
    targets,
    targets.map((_, i) => `/${i}`),
    'whole lines, in order',
  )
  t.equal(facts().logDropped, 0)
})

t.test('two threads on one pipe: no line is mixed with another', async t => {
  const path = join(t.testdir(), 'pipe')
  spawnSync('mkfifo', [path])
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  // At its end a log gives up after two seconds; a machine that has much else to do may need more.
  const after = (ms: number, fn: () => void) => systemClock.after(ms < 2_000 ? ms : 100_000, fn)
  const { counters, shared } = observing({ ...systemClock, after })
  const config = accessLogOf(path)
  const logs = [0, 1].map(thread => new AccessLog(config, { ...shared, baton: counters.logBaton(thread) }))
  const count = 1_500
  for (let i = 0; i < count; i++)
    for (const log of logs) log.record(recordOf({ target: `/${'y'.repeat(i % 700)}` }))
  const closed = Promise.all(logs.map(log => log.close()))
  // A slow reader: the pipe is mostly full, and takes parts of what is written.
  let read = ''
  const bytes = Buffer.alloc(10_000)
  await until('all arrived', () => {
    for (let i = 0; i < 4; i++) {
      try {
        read += bytes.toString('latin1', 0, readSync(reader, bytes))
      } catch {
        // Nothing there just now.
      }
    }
    return read.split('\n').length > count * 2
  })
  await closed
  closeSync(reader)
  for (const line of read.split('\n', count * 2)) JSON.parse(line)
  t.equal(counters.thread(0).logDropped, 0)
})

const at = (path: string) => JSON.stringify(new URL(`../../../../${path}`, import.meta.url).href)
const toStandardOutput = `
  const { AccessLog } = await import(${at('lib/proxy/observe/access-log.ts')})
  const { systemClock } = await import(${at('lib/clock.ts')})
  const { accessLogOf, observing, recordOf } = await import(${at('test/support/observation.ts')})
  // Two seconds at the end are long for a test.
  const fast = { ...systemClock, after: (ms, fn) => systemClock.after(ms / 10, fn) }
  const { shared, baton, counters } = observing(fast)
  const log = new AccessLog(accessLogOf('-'), { ...shared, baton })
  for (let i = 0; i < 3000; i++) log.record(recordOf())
  await log.close()
  process.stderr.write(JSON.stringify(counters.thread(0)))
  process.exit(0)`

for (const kind of ['socket', 'pipe', 'file'] as const) {
  t.test(`standard output is a ${kind} that nobody reads: the process works on and ends`, async t => {
    const path = join(t.testdir(), kind)
    if (kind === 'pipe') spawnSync('mkfifo', [path])
    const reader = kind === 'pipe' ? openSync(path, constants.O_RDONLY | constants.O_NONBLOCK) : null
    // What Node calls a pipe is a pair of sockets.
    const out = kind === 'socket' ? 'pipe' : openSync(path, kind === 'pipe' ? 'w' : 'a')
    const child = spawn(process.execPath, ['--input-type=module', '-e', toStandardOutput], {
      stdio: ['ignore', out, 'pipe'],
    })
    t.teardown(() => child.kill('SIGKILL'))
    const exited = new Promise(resolve => child.once('exit', resolve))
    const { logLines, logDropped } = JSON.parse(await text(child.stderr!))
    t.equal(await exited, 0)
    t.equal(logLines + logDropped, 3_000)
    if (kind === 'file') t.equal(lines(path).length, 3_000)
    else t.ok(logDropped > 0, 'what it did not take is lost')
    child.stdout?.destroy()
    if (reader !== null) closeSync(reader)
    if (typeof out === 'number') closeSync(out)
  })
}
