/** The monitor client against a server that says, on a real unix socket, what QEMU would and what it never should. */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../../../lib/clock.ts'
import type { Silence } from '../../../../lib/hypervisor/no-answer.ts'
import { Qmp } from '../../../../lib/hypervisor/qemu/qmp.ts'
import { openControl } from '../../../../lib/hypervisor/qemu/vm.ts'
import { type Asked, answered, fakeMonitor } from '../../../support/fake-monitor.ts'
import { notHere } from '../../../support/left-out.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

/** A busy machine takes its time over the line without end. */
const limits = { timeoutMs: 60_000 }

/** Asks and expects silence of a kind. */
async function silent(t: Test, asked: Promise<unknown>, silence: Silence, message: RegExp, sent: boolean) {
  const code = silence === 'still_working' ? 'step_timeout' : 'hypervisor_unreachable'
  await t.rejects(asked, { silence, sent, code, message, details: { silence, sent } })
}

function directory(t: Test): string {
  const made = mkdtempSync(join(tmpdir(), 'qmp-'))
  t.teardown(() => rmSync(made, { recursive: true, force: true }))
  return made
}

t.test('answers go to the command that asked, whatever their order', async t => {
  const waiting: Asked[] = []
  const path = await fakeMonitor(t, (asked, socket) => {
    waiting.push(asked)
    if (waiting.length < 2) return
    for (const { id, execute } of waiting.reverse()) socket.write(`{"return": "${execute}", "id": ${id}}\n`)
  })
  const qmp = await Qmp.open(path, systemClock, limits)
  t.teardown(() => qmp.close())
  t.same(await Promise.all([qmp.execute('a', {}, limits), qmp.execute('b', {}, limits)]), ['a', 'b'])
})

t.test('an answer in pieces, with an event in between', async t => {
  const path = await fakeMonitor(t, ({ id }, socket) => {
    const event = '{"timestamp": {"seconds": 2, "microseconds": 500000}, "event": "STOP", "data": {}}'
    const text = `${event}\n{"return": "é", "id": ${id}}\n`
    for (const byte of Buffer.from(text)) socket.write(Buffer.of(byte))
  })
  const qmp = await Qmp.open(path, systemClock, limits)
  t.teardown(() => qmp.close())
  t.equal(await qmp.execute('x', {}, limits), 'é')
  const stop = await qmp.event(({ event }) => event === 'STOP', 'the stop', limits)
  t.equal(stop.atMs, 2_500, 'an event that came before it was asked for')
  qmp.forgetEvents()
  const again = qmp.event(({ event }) => event === 'STOP', 'the stop', { timeoutMs: 20 })
  await t.rejects(again, { code: 'step_timeout' }, 'forgotten')
})

t.test('a refusal has QEMU’s words', async t => {
  const path = await fakeMonitor(t, ({ id }, socket) => {
    socket.write(`{"error": {"class": "GenericError", "desc": "no such thing"}, "id": ${id}}\n`)
  })
  const qmp = await Qmp.open(path, systemClock, limits)
  t.teardown(() => qmp.close())
  await t.rejects(qmp.execute('x', {}, limits), { code: 'hypervisor_failed', message: /no such thing/ })
})

t.test('still working: a command that is not answered by its deadline', async t => {
  const clock = new ManualClock()
  const heard = Promise.withResolvers<void>()
  const path = await fakeMonitor(t, () => heard.resolve())
  const qmp = await Qmp.open(path, clock, limits)
  t.teardown(() => qmp.close())
  const asked = qmp.execute('x', {}, { timeoutMs: 300 })
  asked.catch(() => {})
  await heard.promise
  await clock.advance(300)
  await silent(t, asked, 'still_working', /within 300 ms \(x\)/, true)
  t.equal(clock.pending, 0, 'no timer is left')
})

t.test(
  'still working: an answer that comes too late is nobody’s, and the next command has its own',
  async t => {
    const clock = new ManualClock()
    const late = Promise.withResolvers<() => void>()
    const path = await fakeMonitor(t, (asked, socket) => {
      if (asked.execute === 'slow') late.resolve(() => socket.write(answered(asked, 'slow')))
      else socket.write(answered(asked, asked.execute))
    })
    const qmp = await Qmp.open(path, clock, limits)
    t.teardown(() => qmp.close())
    const slow = qmp.execute('slow', {}, { timeoutMs: 300 })
    slow.catch(() => {})
    const answer = await late.promise
    await clock.advance(300)
    await silent(t, slow, 'still_working', /slow/, true)
    answer()
    t.equal(await qmp.execute('quick', {}, limits), 'quick')
  },
)

t.test('still working: it greets others, and was asked nothing yet', async t => {
  const clock = new ManualClock()
  const waits = Promise.withResolvers<void>()
  const after = clock.after.bind(clock)
  let timers = 0
  // The first is that of the connection.
  clock.after = (ms, fn) => {
    if (++timers === 2) waits.resolve()
    return after(ms, fn)
  }
  const path = await fakeMonitor(t, () => {}, '')
  const opened = Qmp.open(path, clock, { timeoutMs: 300 })
  opened.catch(() => {})
  await waits.promise
  await clock.advance(300)
  await silent(t, opened, 'still_working', /greeting/, false)
})

t.test('gone: there is no socket, or nobody listens on it', async t => {
  const home = directory(t)
  const open = (name: string) => Qmp.open(join(home, name), systemClock, limits)
  await silent(t, open('none.sock'), 'gone', /nobody listens.*ENOENT/, false)
  await silent(t, open('no/directory.sock'), 'gone', /ENOENT/, false)
  const path = join(home, 'left.sock')
  const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 9))`
  t.throws(() => execFileSync(process.execPath, ['-e', script]), 'killed, as it should be')
  await silent(t, open('left.sock'), 'gone', /ECONNREFUSED/, false)
})

t.test('cannot tell: no permission, or what is on the way is no directory', async t => {
  const home = directory(t)
  writeFileSync(join(home, 'file'), '')
  const open = Qmp.open(join(home, 'file', 'control.sock'), systemClock, limits)
  await silent(t, open, 'cannot_tell', /ENOTDIR/, false)
  if (process.getuid?.() === 0) return notHere(t, 'a socket that its user may not open: root may open any')
  const path = await fakeMonitor(t, () => {})
  chmodSync(path, 0)
  await silent(t, Qmp.open(path, systemClock, limits), 'cannot_tell', /EACCES/, false)
})

t.test('cannot tell: it is cut off, for what waits and for what comes later', async t => {
  const path = await fakeMonitor(t, (_, socket) => socket.destroy())
  const qmp = await Qmp.open(path, systemClock, limits)
  const event = qmp.event(() => true, 'anything', limits)
  await Promise.all([
    silent(t, qmp.execute('x', {}, limits), 'cannot_tell', /QEMU closed it/, true),
    silent(t, event, 'cannot_tell', /QEMU closed it/, true),
  ])
  await silent(t, qmp.execute('y', {}, limits), 'cannot_tell', /QEMU closed it/, false)
})

t.test('cannot tell: nonsense, half a greeting, a line without end', async t => {
  const faults: Readonly<Record<string, [string, RegExp]>> = {
    nonsense: ['SSH-2.0\n', /not JSON/],
    'bytes that are no text': ['\xff\xfe\n', /not JSON/],
    'a line without end': ['x'.repeat(5 * 1024 * 1024), /longer than/],
  }
  for (const [what, [hello, message]] of Object.entries(faults)) {
    const path = await fakeMonitor(t, () => {}, hello)
    await t.test(what, t => silent(t, Qmp.open(path, systemClock, limits), 'cannot_tell', message, false))
  }
  const path = await fakeMonitor(t, (_, socket) => socket.write('{"return": \n'))
  const qmp = await Qmp.open(path, systemClock, limits)
  await silent(t, qmp.execute('x', {}, limits), 'cannot_tell', /not JSON/, true)
})

t.test('an abort ends a wait with its own reason, before, during and while it connects', async t => {
  const path = await fakeMonitor(t, () => {})
  const qmp = await Qmp.open(path, systemClock, limits)
  t.teardown(() => qmp.close())
  const stop = new AbortController()
  const waiting = qmp.execute('x', {}, { ...limits, signal: stop.signal })
  stop.abort(new Error('enough'))
  await t.rejects(waiting, { message: 'enough' })
  const aborted = qmp.execute('x', {}, { ...limits, signal: AbortSignal.abort(new Error('before')) })
  await t.rejects(aborted, { message: 'before' })
  const at = new AbortController()
  const opening = Qmp.open(path, systemClock, { ...limits, signal: at.signal })
  at.abort(new Error('at once'))
  await t.rejects(opening, { message: 'at once' })
})

t.test('a path longer than a socket address holds', async t => {
  const path = await fakeMonitor(t, ({ id }, socket) => socket.write(`{"return": 1, "id": ${id}}\n`))
  const long = join(path, '..', 'd'.repeat(120))
  mkdirSync(long)
  symlinkSync(path, join(long, 'control.sock'))
  const qmp = await Qmp.open(join(long, 'control.sock'), systemClock, limits)
  t.teardown(() => qmp.close())
  t.equal(await qmp.execute('x', {}, limits), 1)
})

t.test('a monitor that others put in our place is not spoken to', async t => {
  const called = (name: () => string) =>
    fakeMonitor(t, ({ id, execute }, socket) => {
      const result = execute === 'query-name' ? { name: name() } : {}
      socket.write(`${JSON.stringify({ return: result, id })}\n`)
    })
  const open = (path: string) => openControl(dirname(path), systemClock, 5_000, AbortSignal.timeout(5_000))
  let own = ''
  own = await called(() => basename(dirname(own)))
  ;(await open(own)).close()
  const foreign = open(await called(() => 'web-op9-1'))
  await t.rejects(foreign, { code: 'hypervisor_unreachable', message: /another machine \(web-op9-1\)/ })
})
