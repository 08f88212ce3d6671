/** Mirrors and splits, end to end: what a copy is, that nobody waits for it, and who goes to which cluster. */

import { Agent, type IncomingMessage } from 'node:http'
import { createServer } from 'node:net'
import t, { type Test } from 'tap'
import { noLimits } from '../../../lib/proxy/resilience/plain.ts'
import { ordinaryRetries } from '../../../lib/proxy/retry.ts'
import { get } from '../../support/load.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { seed, seeded } from '../../support/members.ts'
import { type Act, answers, calm, type Stage, stage } from '../../support/stage.ts'
import {
  closeServer,
  type FrontDoorOptions,
  listenOn,
  type OtherCluster,
  openFrontDoor,
  openRawBackend,
  rawClient,
  until,
} from '../../support/traffic.ts'

interface Over extends Partial<FrontDoorOptions> {
  readonly percent?: number
  /** Of a body that is copied. */
  readonly bytes?: number
  readonly shadow?: Partial<OtherCluster>
}

/** `web` answers at once; all its requests are copied to `shadow`, which holds them unless `play` says otherwise. */
async function scene(t: Test, { percent, bytes, shadow, ...options }: Over, play?: (act: Act) => void) {
  const clock = new ManualClock()
  const web = await stage(t, answers(200, 'web'))
  const copies = await stage(t, play)
  const mirror = { cluster: 'shadow', percent: percent ?? 100, requestBodyBytes: bytes ?? 0 }
  const door = await openFrontDoor({
    clock,
    backends: [web.port],
    routes: [{ host: '*', path: '/', mirror }],
    others: { shadow: { backends: [copies.port], ...shadow } },
    ...options,
  })
  t.teardown(() => door.close())
  const over = () => calm(t, door, ['web', 'shadow'])
  return { door, clock, web, copies, over }
}

const lengths = new WeakMap<IncomingMessage, number>()

/** Answers when it has read the whole body. */
const reads = (act: Act) => {
  let bytes = 0
  act.request.on('data', chunk => {
    bytes += chunk.length
  })
  act.request.on('end', () => {
    lengths.set(act.request, bytes)
    act.answer(200, `${act.request.method} ${bytes}`)
  })
}

const pathsOf = ({ acts }: Stage) => acts.map(({ request }) => request.url)

for (const engine of ['relay', 'http-proxy-3'] as const)
  t.test(engine, async t => {
    t.test('a copy is the request as its backend would get it; its answer goes nowhere', async t => {
      const { door, web, copies, over } = await scene(t, { engine }, answers(500, 'x'.repeat(500_000)))
      const head = 'Host: shop.test\r\nCookie: a=1\r\nX-Forwarded-For: 10.0.0.1\r\nConnection: close\r\n\r\n'
      const client = await rawClient(door.port, `DELETE /a?b=1 HTTP/1.1\r\n${head}`)
      t.match(await client.waitClosed(), /^HTTP\/1\.1 200 [\s\S]*web/)
      await copies.act(1)
      await over()
      const [copy, original] = [copies.acts[0]!.request, web.acts[0]!.request]
      t.equal(copy.method, 'DELETE')
      t.equal(copy.url, '/a?b=1')
      t.same(copy.headers, original.headers)
      t.equal(copy.headers['x-forwarded-for'], '127.0.0.1')
      t.equal(copies.acts.length, 1)
      t.match(door.records, [{ status: 200, cluster: 'web', attempts: 1, error: null }])
      t.match([door.board.total(0, 'serverErrors'), door.board.total(1, 'serverErrors')], [0, 1])
    })

    t.test('one that holds, breaks, refuses or is gone changes nothing for the client', async t => {
      const holding = await scene(t, { engine, timeouts: { headerMs: 1_000 } })
      for (const path of ['/1', '/2', '/3'])
        t.match(await get(holding.door.port, path), { status: 200, body: 'web' })
      await holding.copies.act(3)
      t.equal(holding.door.context.exchanges.size, 0, 'nobody waits for them')
      t.equal(holding.door.context.mirrors.size, 3)
      await holding.clock.advance(1_300)
      await holding.over()
      t.equal(holding.door.board.total(1, 'failed'), 3, 'too late is too late')

      const breaking = await scene(t, { engine }, act => act.reset())
      t.match(await get(breaking.door.port, '/'), { status: 200, body: 'web' })
      await breaking.copies.act(1)
      await breaking.over()

      const rude = await openRawBackend(socket => socket.write('what?\r\n\r\n'))
      t.teardown(() => rude.close())
      const nonsense = await scene(t, { engine, shadow: { backends: [rude.port] } })
      t.match(await get(nonsense.door.port, '/'), { status: 200, body: 'web' })
      await nonsense.over()

      const closed = createServer()
      const port = await listenOn(closed)
      await closeServer(closed)
      const dead = await scene(t, { engine, shadow: { backends: [port] } })
      for (let i = 0; i < 3; i++) t.match(await get(dead.door.port, '/'), { status: 200, body: 'web' })
      await dead.over()
      const none = await scene(t, { engine, shadow: { backends: [] } })
      t.match(await get(none.door.port, '/'), { status: 200, body: 'web' })
      await none.over()
    })

    t.test('unasked, nothing with a body; no upgrade, and no second copy for a second try', async t => {
      let asked = 0
      const flaky = await stage(t, act => act.answer(++asked === 1 ? 503 : 200, 'web'))
      const resilience = { retries: { ...ordinaryRetries, on: [503] as const } }
      const { door, copies, over } = await scene(
        t,
        { engine, backends: [flaky.port, flaky.port], resilience, random: () => 0 },
        answers(200, 'copied'),
      )
      t.match(await get(door.port, '/retried'), { status: 200 })
      t.match(await get(door.port, '/posted', { method: 'POST', body: 'body' }), { status: 200 })
      const upgrade =
        'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
      const socket = await rawClient(door.port, `GET /ws HTTP/1.1\r\nHost: x\r\n${upgrade}\r\n\r\n`)
      await socket.waitClosed()
      t.match(await get(door.port, '/last'), { status: 200 })
      await copies.act(2)
      t.same(pathsOf(copies), ['/retried', '/last'])
      await over()
    })

    t.test('a client that leaves leaves its copy alone; a member that is cut takes it along', async t => {
      const { door, copies, over } = await scene(t, { engine, backends: [(await stage(t)).port] })
      const client = await rawClient(door.port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
      const copy = await copies.act(1)
      client.socket.resetAndDestroy()
      await until(() => door.context.exchanges.size === 0, 'the client to be gone')
      t.notOk(copy.gone)
      door.context.mirrors.cutMember(1, 1)
      await until(() => copy.gone, 'the copy to be cut')
      await over()
    })

    t.test('a body is copied when it has passed; a longer one is not, and nobody is held up', async t => {
      const web = await stage(t, reads)
      const { door, copies, over } = await scene(t, { engine, backends: [web.port], bytes: 100_000 }, reads)
      const text = 'a body '.repeat(14_000)
      const bodies = ['', 'short', text, `${text}${text}`]
      for (const [at, body] of bodies.entries()) {
        const post = { method: 'POST', body }
        t.match(await get(door.port, `/known/${at}`, post), { status: 200, body: `POST ${body.length}` })
        const chunked = { ...post, headers: { 'transfer-encoding': 'chunked' } }
        t.match(await get(door.port, `/chunked/${at}`, chunked), { status: 200, body: `POST ${body.length}` })
      }
      await copies.act(6)
      await over()
      t.equal(door.context.mirrors.heldBytes, 0)
      const got = (one: Stage) =>
        one.acts.map(({ request }) => `${request.url} ${lengths.get(request)}`).sort()
      const expected = [0, 1, 2].flatMap(at => [
        `/chunked/${at} ${bodies[at]!.length}`,
        `/known/${at} ${bodies[at]!.length}`,
      ])
      t.strictSame(got(copies), expected.sort())
      const { mirrored, mirrorsDropped } = door.counts()
      t.strictSame([mirrored, mirrorsDropped], [6, 2])
      for (const { request } of copies.acts) {
        const original = web.acts.find(act => act.request.url === request.url)!
        t.same(request.headers, original.request.headers, `${request.url} has the same head`)
      }
    })

    t.test('half a body is not copied', async t => {
      const { door, copies, over } = await scene(t, {
        engine,
        backends: [(await stage(t, reads)).port],
        bytes: 1_000,
      })
      const client = await rawClient(
        door.port,
        'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf ',
      )
      await until(() => door.context.mirrors.heldBytes === 5, 'half of it to be kept')
      client.socket.resetAndDestroy()
      await over()
      t.equal(door.context.mirrors.heldBytes, 0)
      t.equal(copies.acts.length, 0)
      t.match(door.counts(), { mirrored: 0, mirrorsDropped: 1 })
    })

    t.test("the shadow's own limits hold, and nobody waits there", async t => {
      const resilience = { limits: { ...noLimits, requests: 2, requestsPerMember: 1 } }
      const shadow = { resilience, backends: [(await stage(t)).port, (await stage(t)).port] }
      const { door, over, clock } = await scene(t, { engine, shadow, timeouts: { headerMs: 1_000 } })
      for (let i = 0; i < 5; i++) t.match(await get(door.port, '/'), { status: 200, body: 'web' })
      t.same(door.circuit('shadow'), { requests: 2, tunnels: 0, pending: 0 })
      t.equal(door.context.mirrors.size, 2)
      await clock.advance(1_300)
      await over()
    })
  })

t.test('so many at once; those whose answer has begun make room', async t => {
  const begun = await stage(t, ({ response, request }) => {
    if (request.url === '/endless') response.write('it goes on')
  })
  const { door } = await scene(t, { shadow: { backends: [begun.port] } })
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })
  t.teardown(() => agent.destroy())
  const ask = (count: number, path: string) =>
    Promise.all(Array.from({ length: count }, () => get(door.port, path, { agent })))
  await ask(1, '/endless')
  await ask(255, '/')
  t.equal(door.context.mirrors.size, 256)
  const endless = await begun.act(1)
  await until(() => begun.acts.length === 256, 'all of them')
  await ask(1, '/new')
  await until(() => endless.gone, 'the endless one to be given up')
  await ask(5, '/too-many')
  t.equal(door.context.mirrors.size, 256)
  await begun.act(257)
  t.equal(pathsOf(begun).at(-1), '/new')
  t.equal(door.board.total(1, 'inFlight'), 256)
  door.context.mirrors.close()
  await calm(t, door, ['web', 'shadow'])
})

t.test('a part of the requests', async t => {
  const start = seed()
  const { door, copies, over } = await scene(
    t,
    { percent: 25, random: seeded(start) },
    answers(200, 'copied'),
  )
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })
  t.teardown(() => agent.destroy())
  await Promise.all(Array.from({ length: 200 }, () => get(door.port, '/', { agent })))
  await over()
  // Five standard deviations: √(200 · ¼ · ¾) = 6.1.
  const count = copies.acts.length
  t.ok(Math.abs(count - 50) < 31, `${count} of 200, seed ${start}`)
})

t.test('a split: parts by percent; a session stays where it began when they change', async t => {
  const start = seed()
  const names = ['web', 'canary', 'beta']
  const [web, canary, beta] = await Promise.all(names.map(name => stage(t, answers(200, name))))
  const affinity = { method: 'cookie', name: 'sid', ttlSeconds: 600 } as const
  const split = (percents: readonly [number, number]) => [
    {
      host: '*',
      path: '/',
      split: [
        { cluster: 'canary', percent: percents[0] },
        { cluster: 'beta', percent: percents[1] },
      ],
    },
  ]
  const door = await openFrontDoor({
    affinity,
    random: seeded(start),
    backends: [web!.port],
    routes: split([20, 30]),
    others: {
      canary: { backends: [canary!.port], affinity },
      beta: { backends: [beta!.port], affinity },
    },
  })
  t.teardown(() => door.close())
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })
  t.teardown(() => agent.destroy())
  const clients = await Promise.all(
    Array.from({ length: 200 }, async () => {
      const jar = new Map<string, string>()
      return { jar, home: (await get(door.port, '/', { agent, jar })).body }
    }),
  )
  const shareOf = (name: string) => clients.filter(({ home }) => home === name).length / 200
  // Five standard deviations of each.
  for (const [name, share] of [
    ['canary', 0.2],
    ['beta', 0.3],
    ['web', 0.5],
  ] as const)
    t.ok(
      Math.abs(shareOf(name) - share) < 5 * Math.sqrt((share * (1 - share)) / 200),
      `${name}: ${shareOf(name)}, seed ${start}`,
    )
  door.publish({ routes: split([0, 0]) })
  for (const name of names)
    for (const { jar } of clients.filter(({ home }) => home === name).slice(0, 10))
      t.equal((await get(door.port, '/', { agent, jar })).body, name)
  t.equal((await get(door.port, '/', { agent })).body, 'web', 'nobody new')
  await calm(t, door, names)
})

t.test(
  'a split that falls back: who cannot serve leaves its requests to the others by their shares',
  async t => {
    const [web, canary, beta] = await Promise.all(
      ['web', 'canary', 'beta'].map(name => stage(t, answers(200, name))),
    )
    const slow = await stage(t)
    const open = async (over: Partial<FrontDoorOptions>, route: object = {}) => {
      const split = [
        { cluster: 'canary', percent: 60 },
        { cluster: 'beta', percent: 40 },
      ]
      const door = await openFrontDoor({
        random: seeded(1),
        backends: [web!.port],
        routes: [{ host: '*', path: '/', split, splitFallback: true, ...route }],
        others: { canary: { backends: [canary!.port] }, beta: { backends: [beta!.port] } },
        ...over,
      })
      t.teardown(() => door.close())
      return door
    }
    const ask = async (port: number, count: number) => {
      const all = await Promise.all(Array.from({ length: count }, () => get(port, '/')))
      return [...new Set(all.map(({ status, body }) => (status === 200 ? body : String(status))))].sort()
    }
    const gone = await open({})
    gone.board.admit(1, 1, 'none')
    t.strictSame(await ask(gone.port, 30), ['beta'], 'no member; who has no percent takes nobody')
    t.ok(gone.counts('canary').splitFallbacks > 5)
    t.match(gone.records[0], { cluster: 'beta', error: null })
    gone.board.admit(2, 1, 'none')
    t.strictSame(await ask(gone.port, 5), ['503'], 'nobody is left')
    await calm(t, gone, ['web', 'canary', 'beta'])

    const refusing = await open({}, { splitFallback: false })
    refusing.board.admit(1, 1, 'none')
    t.strictSame(await ask(refusing.port, 30), ['503', 'beta'], 'only where the route says so')

    const limits = { ...noLimits, requests: 1, pending: 0 }
    const full = await open({
      others: { canary: { backends: [slow.port], resilience: { limits } }, beta: { backends: [beta!.port] } },
    })
    const waiting = get(full.port, '/')
    for (let asked = 0; slow.acts.length === 0 && asked < 50; asked++) void get(full.port, '/')
    const held = await slow.act(1)
    t.strictSame(await ask(full.port, 30), ['beta'], 'a full circuit')
    held.answer(200, 'slow')
    await waiting
    await until(() => full.context.exchanges.size === 0, 'the others')
    await calm(t, full, ['web', 'canary', 'beta'])

    const closed = createServer()
    const port = await listenOn(closed)
    await closeServer(closed)
    const dead = await open({ others: { canary: { backends: [port] }, beta: { backends: [beta!.port] } } })
    t.strictSame(await ask(dead.port, 30), ['beta'], 'nothing was sent to one that cannot be connected to')
  },
)
