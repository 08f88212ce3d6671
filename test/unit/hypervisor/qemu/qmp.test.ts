/** The monitor client against a server that says, on a real unix socket, what QEMU would and what it never should. */
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../../../lib/clock.ts'
import { Qmp } from '../../../../lib/hypervisor/qemu/qmp.ts'
import { openControl } from '../../../../lib/hypervisor/qemu/vm.ts'

const limits = { timeoutMs: 5_000 }
const greeting = '{"QMP": {"version": {}, "capabilities": []}}\n'

interface Asked {
  readonly execute: string
  readonly id: number
}

/** A monitor that greets and answers capabilities; all else is up to `answer`. */
async function monitor(t: Test, answer: (asked: Asked, socket: Socket) => void, hello = greeting) {
  const directory = mkdtempSync(join(tmpdir(), 'qmp-'))
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.write(hello)
    let text = ''
    socket.on('data', chunk => {
      const lines = (text + chunk).split('\n')
      text = lines.pop()!
      for (const line of lines) {
        const asked = JSON.parse(line) as Asked
        if (asked.execute === 'qmp_capabilities') socket.write(`{"return": {}, "id": ${asked.id}}\n`)
        else answer(asked, socket)
      }
    })
  })
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
    rmSync(directory, { recursive: true, force: true })
  })
  const path = join(directory, 'control.sock')
  await new Promise<void>(resolve => server.listen(path, resolve))
  return path
}

t.test('answers go to the command that asked, whatever their order', async t => {
  const waiting: Asked[] = []
  const path = await monitor(t, (asked, socket) => {
    waiting.push(asked)
    if (waiting.length < 2) return
    for (const { id, execute } of waiting.reverse()) socket.write(`{"return": "${execute}", "id": ${id}}\n`)
  })
  const qmp = await Qmp.open(path, systemClock, limits)
  t.teardown(() => qmp.close())
  t.same(await Promise.all([qmp.execute('a', {}, limits), qmp.execute('b', {}, limits)]), ['a', 'b'])
})

t.test('an answer in pieces, with an event in between', async t => {
  const path = await monitor(t, ({ id }, socket) => {
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
  const path = await monitor(t, ({ id }, socket) => {
    socket.write(`{"error": {"class": "GenericError", "desc": "no such thing"}, "id": ${id}}\n`)
  })
  const qmp = await Qmp.open(path, systemClock, limits)
  t.teardown(() => qmp.close())
  await t.rejects(qmp.execute('x', {}, limits), { code: 'hypervisor_failed', message: /no such thing/ })
})

t.test('silence ends at the deadline, or when the signal aborts', async t => {
  const path = await monitor(t, () => {})
  const qmp = await Qmp.open(path, systemClock, limits)
  t.teardown(() => qmp.close())
  await t.rejects(qmp.execute('x', {}, { timeoutMs: 20 }), { code: 'step_timeout' })
  const stop = new AbortController()
  const waiting = qmp.execute('x', {}, { ...limits, signal: stop.signal })
  stop.abort(new Error('enough'))
  await t.rejects(waiting, { message: 'enough' })
  const aborted = qmp.execute('x', {}, { ...limits, signal: AbortSignal.abort(new Error('before')) })
  await t.rejects(aborted, { message: 'before' })
})

t.test('a monitor that goes away rejects what waits and what comes later', async t => {
  const path = await monitor(t, (_, socket) => socket.destroy())
  const qmp = await Qmp.open(path, systemClock, limits)
  const event = qmp.event(() => true, 'anything', limits)
  await Promise.all([
    t.rejects(qmp.execute('x', {}, limits), { code: 'hypervisor_unreachable' }),
    t.rejects(event, { code: 'hypervisor_unreachable' }),
  ])
  await t.rejects(qmp.execute('y', {}, limits), { code: 'hypervisor_unreachable' })
})

t.test('nobody listens, no greeting, nonsense, a line without end', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'qmp-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const nobody = Qmp.open(join(directory, 'none.sock'), systemClock, limits)
  await t.rejects(nobody, { code: 'hypervisor_unreachable' })
  const mute = await monitor(t, () => {}, '')
  await t.rejects(Qmp.open(mute, systemClock, { timeoutMs: 20 }), { code: 'step_timeout' })
  const nonsense = await monitor(t, () => {}, 'SSH-2.0\n')
  await t.rejects(Qmp.open(nonsense, systemClock, limits), { code: 'hypervisor_unreachable' })
  const endless = await monitor(t, () => {}, 'x'.repeat(5 * 1024 * 1024))
  await t.rejects(Qmp.open(endless, systemClock, limits), { message: /longer than/ })
})

t.test('a path longer than a socket address holds', async t => {
  const path = await monitor(t, ({ id }, socket) => socket.write(`{"return": 1, "id": ${id}}\n`))
  const { mkdirSync, symlinkSync } = await import('node:fs')
  const long = join(path, '..', 'd'.repeat(120))
  mkdirSync(long)
  symlinkSync(path, join(long, 'control.sock'))
  const qmp = await Qmp.open(join(long, 'control.sock'), systemClock, limits)
  t.teardown(() => qmp.close())
  t.equal(await qmp.execute('x', {}, limits), 1)
})

t.test('a monitor that others put in our place is not spoken to', async t => {
  const called = (name: () => string) =>
    monitor(t, ({ id, execute }, socket) => {
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
