import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import t, { type Test } from 'tap'
import { systemClock } from '../../../lib/clock.ts'
import { startAgent } from '../../../lib/guest/agent.ts'
import { GuestClient } from '../../../lib/guest/client.ts'
import type { GuestIdentity } from '../../../lib/guest/hooks.ts'
import { setMachineId } from '../../../lib/guest/identify.ts'
import { type GuestHooks, guest } from '../../../lib/guest/index.ts'
import { guestLimits, guestPaths } from '../../../lib/guest/protocol.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { until } from '../../support/wait.ts'

const token = 'a-token-of-some-length'
const call = { timeoutMs: 5_000 }
const identity = {
  instanceId: 'web-1-1',
  incarnation: 'abc',
  cluster: 'web',
  reason: 'cloned' as const,
  entropy: Buffer.alloc(guestLimits.entropyBytesMin, 7).toString('base64'),
  wallClockMs: 1_700_000_000_000,
}

t.test('outside Tidegate the library does nothing', async t => {
  const handle = guest({ handOver: () => t.fail('nobody asks') }, {})
  t.equal(handle.enabled, false)
  t.equal(handle.identity(), null)
  handle.close()
})

t.test('a faulty environment is an error at once', async t => {
  const socket = join(tmpdir(), 'never')
  t.throws(() => guest({}, { TIDEGATE_GUEST_SOCKET: socket }), /TIDEGATE_GUEST_TOKEN/)
  t.throws(() => guest({}, { TIDEGATE_GUEST_SOCKET: socket, TIDEGATE_GUEST_TOKEN: 'short' }), /16 to 512/)
  t.throws(
    () => guest({}, { TIDEGATE_GUEST_PORT: '70000', TIDEGATE_GUEST_TOKEN: token }),
    /TIDEGATE_GUEST_PORT=70000/,
  )
})

t.test('ping tells which hooks there are, and who it is', async t => {
  const { client, socket } = await start(t, { handOver: () => 1 })
  t.match(await client.ping(call), {
    protocol: 1,
    pid: process.pid,
    hooks: { hand_over: true, take_back: false, identified: false },
    identity: null,
  })
  t.equal(statSync(socket).mode & 0o777, 0o600, 'the socket is ours alone')
})

t.test('a socket left by an earlier process is replaced', async t => {
  const { client } = await start(t, {}, socket => writeFileSync(socket, ''))
  t.equal((await client.ping(call)).protocol, 1)
})

t.test('state travels as it was given: JSON, bytes, a stream', async t => {
  const states: readonly (readonly [unknown, (back: unknown) => Promise<void>])[] = [
    [{ a: [1, 'ü', null] }, async back => void t.same(back, { a: [1, 'ü', null] })],
    [null, async back => void t.equal(back, null)],
    [Buffer.from([0, 1, 255]), async back => void t.same(back, Buffer.from([0, 1, 255]))],
    [
      Readable.from([Buffer.alloc(70_000, 1), Buffer.alloc(70_000, 2)]),
      async back => {
        const got = Buffer.concat(await (back as Readable).toArray())
        t.same(got, Buffer.concat([Buffer.alloc(70_000, 1), Buffer.alloc(70_000, 2)]))
      },
    ],
  ]
  for (const [state, check] of states) {
    let came = false
    const { client } = await start(t, {
      handOver: () => state,
      takeBack: async back => {
        await check(back)
        came = true
      },
    })
    const chunks: Uint8Array[] = []
    const report = await client.handOver(async chunk => void chunks.push(chunk), call)
    t.ok(report.pausedMs >= 0)
    const taken = await client.takeBack(report.shape, Readable.from(chunks), call)
    t.equal(taken, report.bytes, `${report.shape}: the size is acknowledged`)
    t.ok(came, 'the hook had the state before the answer')
  }
})

t.test('a state that JSON cannot hold, a hook that throws, a hook that is missing', async t => {
  const discard = async () => {}
  const bad = await start(t, { handOver: () => undefined })
  await t.rejects(bad.client.handOver(discard, call), { code: 'guest_unreachable', message: /not JSON/ })
  const throwing = await start(t, {
    handOver: () => {
      throw new Error('not now')
    },
    takeBack: async () => {
      throw new Error('will not')
    },
  })
  await t.rejects(throwing.client.handOver(discard, call), {
    details: { guest_code: 'hook_failed' },
    message: /not now/,
  })
  await t.rejects(throwing.client.takeBack('json', Readable.from([Buffer.from('1')]), call), {
    message: /will not/,
  })
  await t.rejects(throwing.client.takeBack('json', Readable.from([Buffer.from('{')]), call), {
    message: /not JSON/,
  })
  const none = await start(t, {})
  await t.rejects(none.client.handOver(discard, call), {
    message: /said no/,
    details: { guest_code: 'no_hook' },
  })
  await t.rejects(none.client.takeBack('json', Readable.from([Buffer.from('1')]), call), {
    message: /said no/,
    details: { guest_code: 'no_hook' },
  })
})

t.test('a stream that breaks is never taken for a whole state', async t => {
  const { client } = await start(t, {
    handOver: () =>
      (async function* () {
        yield Buffer.alloc(100_000)
        throw new Error('broke')
      })(),
  })
  await t.rejects(
    client.handOver(async () => {}, call),
    { code: 'guest_unreachable' },
  )
})

t.test('what the receiver throws is thrown on unchanged', async t => {
  const { client } = await start(t, { handOver: () => 'x' })
  const full = new Error('no room')
  await t.rejects(
    client.handOver(() => Promise.reject(full), call),
    full,
  )
})

t.test('a take_back that leaves part of a stream unread is an error', async t => {
  const { client } = await start(t, { takeBack: () => {} })
  const state = Readable.from([Buffer.alloc(10), Buffer.alloc(10)])
  await t.rejects(client.takeBack('stream', state, call), { message: /to its end/ })
})

t.test('identify: the hook hears it, the answer repeats it, a repeat runs no hook', async t => {
  const heard: GuestIdentity[] = []
  const { client, handle } = await start(t, {
    identified: async me => void heard.push(me),
    takeBack: () => {},
  })
  const answer = await client.identify(identity, call)
  t.same(answer, { instance_id: 'web-1-1', incarnation: 'abc', application: 'acknowledged', warnings: [] })
  const { entropy, wallClockMs, ...who } = identity
  t.same(heard, [who])
  t.same(handle.identity(), who)
  t.same((await client.ping(call)).identity, { instance_id: 'web-1-1', incarnation: 'abc' })

  t.same(await client.identify(identity, call), answer)
  t.equal(heard.length, 1, 'a repeated question is answered without the hook')
  await client.identify({ ...identity, incarnation: 'def' }, call)
  t.equal(heard.length, 2, 'another incarnation is another identity')
  await client.takeBack('json', Readable.from([Buffer.from('{}')]), call)
  t.equal(handle.identity(), null, 'whoever got a state back is not yet anybody')
})

t.test('who acknowledges as somebody else, or with another life, is refused', async t => {
  const right = { instance_id: 'web-1-1', incarnation: 'abc', application: 'no_hook', warnings: [] }
  let answer: object = right
  const server = createServer((asked, response) => {
    asked.resume().on('end', () => response.end(JSON.stringify(answer)))
  })
  t.teardown(() => server.close())
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const client = new GuestClient({ host: '127.0.0.1', port }, token, systemClock)
  t.same(await client.identify(identity, call), right)
  for (const wrong of [{ instance_id: 'web-1-0' }, { incarnation: 'ab' }, { incarnation: 'ABC' }]) {
    answer = { ...right, ...wrong }
    await t.rejects(client.identify(identity, call), {
      code: 'identity_refused',
      message: /another identity/,
    })
  }
})

t.test('without a hook the agent acknowledges for itself', async t => {
  const { client } = await start(t, {})
  t.equal((await client.identify(identity, call)).application, 'no_hook')
})

t.test('a hook that throws refuses the identity, and may accept the next', async t => {
  let fail = true
  const { client, handle } = await start(t, {
    identified: () => {
      if (fail) throw new Error('who?')
    },
  })
  await t.rejects(client.identify(identity, call), { code: 'identity_refused', message: /who\?/ })
  t.equal(handle.identity(), null)
  fail = false
  t.equal((await client.identify(identity, call)).application, 'acknowledged')
})

t.test('a hook that never ends refuses at its deadline', async t => {
  const clock = new ManualClock()
  const identified = () => new Promise<void>(() => {})
  const agent = startAgent(
    { handOver: null, takeBack: null, resized: null, identified },
    { listen: { port: 0 }, token, vm: false, clock },
  )
  t.teardown(agent.close)
  const port = await until('it listens', () => (agent.server.address() as AddressInfo | null)?.port)
  const client = new GuestClient({ host: '127.0.0.1', port }, token, systemClock)
  const asked = client.identify(identity, call)
  asked.catch(() => {})
  // The request's own timer and the hook's.
  await until('the hook runs', () => clock.pending === 2)
  await clock.advance(guestLimits.identifyHookMs)
  await t.rejects(asked, { code: 'identity_refused', message: /5000 ms/ })
})

t.test('nonsense is refused with the field it is about', async t => {
  const { client } = await start(t, {})
  for (const [field, value] of Object.entries({
    instanceId: 'Not A Name',
    incarnation: '',
    cluster: '',
    reason: 'guessed',
    entropy: 'AAAA',
    wallClockMs: -1,
  })) {
    const wrong = { ...identity, [field]: value } as typeof identity
    const name = field.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`)
    await t.rejects(client.identify(wrong, call), {
      message: new RegExp(`identify: ${name}`),
      details: { guest_code: 'invalid_request' },
    })
  }
})

t.test('a wrong token, a wrong path and a body too large are refused', async t => {
  const { client, socket } = await start(t, {})
  const wrong = new GuestClient({ socketPath: socket }, `${token}x`, systemClock)
  await t.rejects(wrong.ping(call), { message: /token/, details: { guest_code: 'unauthorized' } })
  t.equal((await raw(socket, 'GET', '/tidegate/v1/other', token)).status, 404)
  t.equal((await raw(socket, 'GET', '/toString', token)).status, 404)
  t.equal((await raw(socket, 'GET', guestPaths.ping, '')).status, 401)
  t.equal((await raw(socket, 'POST', guestPaths.identify, token, 'x'.repeat(65 * 1024))).status, 413)
  t.equal((await raw(socket, 'POST', guestPaths.identify, token, '{')).status, 400)
  t.equal((await client.ping(call)).protocol, 1, 'and it still answers')
})

t.test(
  'a client whose agent is silent or gone hears guest_unreachable; an abort is its own reason',
  async t => {
    const { client, handle } = await start(t, { handOver: () => new Promise(() => {}) })
    const late = client.handOver(async () => {}, { timeoutMs: 50 })
    await t.rejects(late, { code: 'guest_unreachable', message: /within 50 ms/ })
    const stop = new AbortController()
    const asked = client.handOver(async () => {}, { timeoutMs: 5_000, signal: stop.signal })
    asked.catch(() => {})
    stop.abort(new Error('enough'))
    await t.rejects(asked, { message: 'enough' })
    await t.rejects(client.ping({ ...call, signal: stop.signal }), { message: 'enough' })
    handle.close()
    await t.rejects(client.ping(call), { code: 'guest_unreachable' })
  },
)

async function start<State>(t: Test, hooks: GuestHooks<State>, prepare: (socket: string) => void = () => {}) {
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-guest-'))
  const socket = join(directory, 's')
  prepare(socket)
  const handle = guest(hooks, { TIDEGATE_GUEST_SOCKET: socket, TIDEGATE_GUEST_TOKEN: token })
  t.teardown(() => {
    handle.close()
    rmSync(directory, { recursive: true, force: true })
  })
  const client = new GuestClient({ socketPath: socket }, token, systemClock)
  await until('the agent answers', () => client.ping(call))
  return { client, handle, socket }
}

function raw(socketPath: string, method: string, path: string, bearer: string, body?: string) {
  return new Promise<{ status: number }>((resolve, reject) => {
    const headers = bearer ? { authorization: `Bearer ${bearer}` } : {}
    const outgoing = request({ socketPath, method, path, headers, agent: false }, response => {
      response.resume()
      resolve({ status: response.statusCode ?? 0 })
    })
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

t.test('a clone hears whose copy it is, and as of when', async t => {
  const heard: GuestIdentity[] = []
  const { client } = await start(t, { identified: me => void heard.push(me) })
  const clonedFrom = { instanceId: 'web-1-0', atMs: 1_600_000_000_000 }
  await client.identify({ ...identity, clonedFrom }, call)
  t.same(heard[0]?.clonedFrom, { instanceId: 'web-1-0', at: new Date(1_600_000_000_000) })
  await client.identify({ ...identity, incarnation: 'another' }, call)
  t.notOk(heard[1] && 'clonedFrom' in heard[1], 'where nobody knows it is left out')
  const foreign = { instanceId: '../etc', atMs: 1 }
  await t.rejects(client.identify({ ...identity, incarnation: 'x', clonedFrom: foreign }, call), {
    message: /cloned_from/,
  })
})

t.test('a machine id is of one life, where the image has one', async t => {
  const path = join(t.testdir({ 'machine-id': 'of the source\n' }), 'machine-id')
  t.equal(setMachineId('one', path), null)
  const first = readFileSync(path, 'utf8')
  t.match(first, /^[0-9a-f]{32}\n$/)
  t.equal(setMachineId('two', path), null)
  t.not(readFileSync(path, 'utf8'), first)
  t.equal(setMachineId('one', join(path, 'nowhere')), null)
  t.match(setMachineId('one', t.testdirName), /could not be set/)
})
