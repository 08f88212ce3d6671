/** `requests_per_member`: a full member is passed over, who is bound to it waits for it, and when all are full everybody waits. */
import { once } from 'node:events'
import { createServer } from 'node:net'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import type { LimitsConfig, ResilienceConfig } from '../../../lib/config/config.ts'
import { noLimits } from '../../../lib/proxy/resilience/plain.ts'
import { ordinaryRetries } from '../../../lib/proxy/retry.ts'
import { get } from '../../support/load.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { origin } from '../../support/origin.ts'
import { calm, type Stage, stage } from '../../support/stage.ts'
import {
  closeServer,
  type FrontDoorOptions,
  listenOn,
  openFrontDoor,
  rawClient,
  until,
} from '../../support/traffic.ts'

interface Over extends Partial<FrontDoorOptions> {
  readonly limits?: Partial<LimitsConfig>
  readonly guard?: Partial<ResilienceConfig>
}

/** Two members that hold every request, each with room for one. */
async function scene(t: Test, { limits, guard, ...options }: Over = {}) {
  const clock = new ManualClock()
  const stages: [Stage, Stage] = [await stage(t), await stage(t)]
  const door = await openFrontDoor({
    clock,
    random: () => 0,
    backends: stages.map(({ port }) => port),
    resilience: { ...guard, limits: { ...noLimits, requestsPerMember: 1, queueTimeoutMs: 1_000, ...limits } },
    ...options,
  })
  t.teardown(() => door.close())
  const asked = () => stages.map(({ acts }) => acts.length)
  /** A request that is under way, or waits. */
  const ask = async (path = '/', jar = new Map<string, string>()) => {
    const { requests, pending } = door.circuit()
    const answer = get(door.port, path, { jar })
    answer.catch(() => {})
    await until(() => {
      const now = door.circuit()
      return now.requests + now.pending > requests + pending
    }, `${path} to be let in`)
    return { answer }
  }
  return { door, clock, stages, asked, ask }
}

const cookie = { method: 'cookie', name: 'sid', ttlSeconds: 60 } as const

for (const engine of ['relay', 'http-proxy-3'] as const)
  t.test(engine, async t => {
    t.test('full members are passed over; when all are, the next waits', async t => {
      const { door, stages, asked, clock } = await scene(t, { engine })
      const answers = [1, 2, 3].map(() => get(door.port, '/'))
      await until(() => door.circuit().pending === 1, 'the third to wait')
      for (const { act } of stages) await act(1)
      t.same(door.circuit(), { requests: 2, tunnels: 0, pending: 1 }, 'without a place')
      await clock.advance(500)
      stages[1].acts[0]!.answer(200, 'one')
      const third = await stages[1].act(2)
      t.same(asked(), [1, 2])
      stages[0].acts[0]!.answer(200, 'two')
      third.answer(200, 'three')
      t.same((await Promise.all(answers)).map(({ body }) => body).sort(), ['one', 'three', 'two'])
      await calm(t, door)
      t.match(door.records.at(-1), { status: 200, attempts: 1 })
    })

    t.test('for so long, and no longer; nothing was sent', async t => {
      const { door, stages, asked, ask, clock } = await scene(t, { engine })
      const served = [await ask('/1'), await ask('/2')]
      const waits = await ask('/3')
      await clock.advance(1_010)
      t.match(await waits.answer, { status: 503, body: /queue_timeout/ })
      t.same(asked(), [1, 1])
      for (const { acts } of stages) acts[0]!.answer(200, 'served')
      for (const { answer } of served) t.match(await answer, { status: 200 })
      await calm(t, door)
      t.match(door.records[0], { error: 'queue_timeout', ending: 'PQ', attempts: 0 })
    })

    t.test('nobody waits: pending 0', async t => {
      const { door, stages, ask } = await scene(t, { engine, limits: { pending: 0 } })
      const served = [await ask('/1'), await ask('/2')]
      t.match(await get(door.port, '/3'), { status: 503, body: /circuit_open/ })
      for (const { acts } of stages) acts[0]!.answer(200, 'served')
      for (const { answer } of served) t.match(await answer, { status: 200 })
      await calm(t, door)
    })

    t.test('who is bound waits for its own member and keeps nobody behind', async t => {
      const { door, stages, asked, ask, clock } = await scene(t, { engine, affinity: cookie })
      const jar = new Map<string, string>()
      const login = await ask('/login', jar)
      await until(() => asked()[0]! + asked()[1]! === 1, 'the login')
      const own = asked()[0] === 1 ? 0 : 1
      stages[own].acts[0]!.answer(200, 'in')
      await login.answer
      const [before, after] = [await ask('/a', jar), await ask('/b', jar)]
      await stages[own].act(2)
      t.same(door.circuit(), { requests: 1, tunnels: 0, pending: 1 })
      for (let i = 1; i <= 3; i++) {
        const other = await ask('/new')
        ;(await stages[1 - own]!.act(i)).answer(200, 'elsewhere')
        t.match(await other.answer, { status: 200, body: 'elsewhere' }, 'others go past it')
        await clock.advance(50)
      }
      t.equal(stages[own].acts.length, 2, 'and it has not moved')
      stages[own].acts[1]!.answer(200, 'a')
      ;(await stages[own].act(3)).answer(200, 'b')
      t.match(await before.answer, { body: 'a' })
      t.match(await after.answer, { body: 'b', headers: { 'set-cookie': undefined } })
      const [third, late] = [await ask('/c', jar), await ask('/d', jar)]
      await stages[own].act(4)
      await clock.advance(1_010)
      t.match(await late.answer, { status: 503, body: /queue_timeout/ }, 'rather than to another')
      stages[own].acts[3]!.answer(200, 'c')
      await third.answer
      await calm(t, door)
    })

    t.test('a member that closes while a bound client waits for it: the client moves', async t => {
      const { door, stages, asked, ask, clock } = await scene(t, { engine, affinity: cookie })
      const jar = new Map<string, string>()
      const login = await ask('/login', jar)
      await until(() => asked()[0]! + asked()[1]! === 1, 'the login')
      const own = asked()[0] === 1 ? 0 : 1
      stages[own].acts[0]!.answer(200, 'in')
      await login.answer
      const before = await ask('/a', jar)
      const waits = await ask('/b', jar)
      door.board.admit(own, 1, 'none')
      await clock.advance(5)
      ;(await stages[1 - own]!.act(1)).answer(200, 'moved')
      t.match(await waits.answer, { status: 200, body: 'moved', headers: { 'set-cookie': [/^sid=/] } })
      ;(await stages[own].act(2)).answer(200, 'a')
      await before.answer
      await calm(t, door)
    })

    t.test('a client that leaves while it waits for a member', async t => {
      const { door, stages, ask, clock, asked } = await scene(t, { engine })
      const served = [await ask('/1'), await ask('/2')]
      const client = await rawClient(door.port, 'GET /3 HTTP/1.1\r\nHost: x\r\n\r\n')
      await until(() => door.circuit().pending === 1, 'it to wait')
      await clock.advance(20)
      client.socket.resetAndDestroy()
      await until(() => door.circuit().pending === 0, 'its place')
      for (const { acts } of stages) acts[0]!.answer(200, 'served')
      for (const { answer } of served) await answer
      await clock.advance(20)
      t.same(asked(), [1, 1])
      await calm(t, door)
    })

    t.test('with a limit on the cluster as well: FIFO, and the place is kept for who can use it', async t => {
      const { door, stages, ask } = await scene(t, { engine, limits: { requests: 1 } })
      const first = await ask('/1')
      const second = await ask('/2')
      t.same(door.circuit(), { requests: 1, tunnels: 0, pending: 1 })
      stages[0].acts[0]?.answer(200, 'served')
      stages[1].acts[0]?.answer(200, 'served')
      await first.answer
      await until(() => stages[0].acts.length + stages[1].acts.length === 2, 'the second')
      for (const { acts } of stages)
        for (const act of acts) if (!act.response.headersSent) act.answer(200, '2')
      t.match(await second.answer, { body: '2' })
      await calm(t, door)
    })

    t.test('a WebSocket is as much on its member as a request', async t => {
      const echo = await origin(t, 'echo')
      const { door } = await scene(t, { engine, backends: [echo.port] })
      const socket = new WebSocket(`ws://127.0.0.1:${door.port}/`)
      await once(socket, 'open')
      const answer = get(door.port, '/')
      await until(() => door.circuit().pending === 1, 'the request to wait')
      socket.terminate()
      t.match(await answer, { status: 200, body: 'echo' })
      await calm(t, door)
    })

    t.test('a refused connection, and the others are full: it waits, since nothing was sent', async t => {
      const closed = createServer()
      const port = await listenOn(closed)
      await closeServer(closed)
      const busy = await stage(t)
      const { door } = await scene(t, { engine, backends: [port, busy.port] })
      const first = get(door.port, '/1')
      await busy.act(1)
      const second = get(door.port, '/2')
      await until(() => door.circuit().pending === 1, 'it to wait')
      busy.acts[0]!.answer(200, 'one')
      ;(await busy.act(2)).answer(200, 'two')
      t.match([await first, await second], [{ body: 'one' }, { body: 'two' }])
      await calm(t, door)
    })

    t.test(
      'an answer that another member might better, and the others are full: it is the answer',
      async t => {
        const retries = { ...ordinaryRetries, on: [503, 'reset'] as const }
        const { door, stages, ask, asked } = await scene(t, { engine, guard: { retries } })
        const [one, two] = [await ask('/1'), await ask('/2')]
        await until(() => asked()[0] === 1 && asked()[1] === 1, 'both')
        stages[0].acts[0]!.answer(503, 'poor')
        const poor = await Promise.race([one.answer, two.answer])
        t.match(poor, { status: 503, body: 'poor' })
        const third = await ask('/3')
        const reset = await stages[0].act(2)
        reset.reset()
        t.match(await third.answer, { status: 502, body: /upstream_reset/ })
        stages[1].acts[0]!.answer(200, 'fine')
        t.same((await Promise.all([one.answer, two.answer])).map(({ status }) => status).sort(), [200, 503])
        await calm(t, door)
      },
    )

    t.test('a full member is not the second of a hedge', async t => {
      const guard = { hedge: { afterMs: 100, maxPercent: 100 } }
      const { door, ask, asked, clock, stages } = await scene(t, { engine, guard })
      const answers = [await ask('/1'), await ask('/2')]
      await until(() => asked()[0] === 1 && asked()[1] === 1, 'both')
      await clock.advance(500)
      t.same(asked(), [1, 1])
      for (const { acts } of stages) acts[0]!.answer(200, 'served')
      for (const { answer } of answers) await answer
      await calm(t, door)
    })
  })
