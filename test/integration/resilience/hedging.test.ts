/** Hedging, end to end: when a second member is asked, whose answer counts, and what becomes of the other. */
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import type { HedgeConfig, LimitsConfig, RetriesConfig } from '../../../lib/config/config.ts'
import { noLimits } from '../../../lib/proxy/resilience/plain.ts'
import { ordinaryRetries } from '../../../lib/proxy/retry.ts'
import { get } from '../../support/load.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { type Act, calm, type Stage, stage } from '../../support/stage.ts'
import { type FrontDoorOptions, openFrontDoor, rawClient, until } from '../../support/traffic.ts'

interface Over extends Omit<FrontDoorOptions, 'backends'> {
  readonly hedge?: Partial<HedgeConfig>
  readonly limits?: Partial<LimitsConfig>
  readonly retries?: Partial<RetriesConfig>
}

/** Two members, asked in turn; hedged after 200 ms. Requests are held unless `play` does something with them. */
async function scene(t: Test, over: Over = {}, play?: (act: Act) => void) {
  const { hedge, limits, retries, ...options } = over
  const clock = new ManualClock()
  const stages: [Stage, Stage] = [await stage(t, play), await stage(t, play)]
  const door = await openFrontDoor({
    clock,
    random: () => 0,
    backends: stages.map(({ port }) => port),
    resilience: {
      retries: { ...ordinaryRetries, ...retries },
      hedge: { afterMs: 200, maxPercent: 100, ...hedge },
      limits: { ...noLimits, requests: 10, ...limits },
    },
    ...options,
  })
  t.teardown(() => door.close())
  const asked = () => stages[0].acts.length + stages[1].acts.length
  /** A request that has been sent to one member. */
  const ask = async (path = '/', jar = new Map<string, string>()) => {
    const before = asked()
    const on = [stages[0].acts.length, stages[1].acts.length]
    const answer = get(door.port, path, { jar })
    // A test that fails before it looks at the answer says so by itself.
    answer.catch(() => {})
    await until(() => asked() === before + 1, 'the first try')
    const first = stages[0].acts.length > on[0]! ? 0 : 1
    return { answer, at: first, first: stages[first].acts.at(-1)! }
  }
  /** A request that both have been asked, and neither has answered. */
  const both = async (path = '/', jar = new Map<string, string>()) => {
    const one = await ask(path, jar)
    const before = asked()
    await clock.advance(200)
    await until(() => asked() === before + 1, 'the second try')
    return { ...one, second: stages[1 - one.at]!.acts.at(-1)! }
  }
  return { door, clock, stages, asked, ask, both }
}

for (const engine of ['relay', 'http-proxy-3'] as const)
  t.test(engine, async t => {
    t.test(
      'the second is asked when the first is late; its answer counts, the first is given up',
      async t => {
        const { door, clock, asked, ask, stages } = await scene(t, { engine })
        const { answer, at, first } = await ask()
        await clock.advance(199)
        t.equal(asked(), 1, 'not before its time')
        await clock.advance(1)
        const second = await stages[1 - at]!.act(1)
        t.same(door.circuit(), { requests: 2, tunnels: 0, pending: 0 }, 'each holds a place')
        second.response.write('from the ')
        await until(() => first.gone, 'the first to be given up')
        t.same(door.circuit(), { requests: 1, tunnels: 0, pending: 0 }, 'and its place with it')
        second.response.end('second')
        t.match(await answer, { status: 200, body: 'from the second' })
        await calm(t, door)
        t.match(door.records, [{ attempts: 2, hedges: 1, status: 200, backend: `b${1 - at}`, error: null }])
        t.equal(door.board.total(at, 'aborted'), 1)
        t.equal(door.board.total(at, 'failed'), 0, 'slowness is no failure')
      },
    )

    t.test('the first may still be the quicker one', async t => {
      const { door, both } = await scene(t, { engine })
      const { answer, at, first, second } = await both()
      first.answer(200, 'first')
      t.match(await answer, { status: 200, body: 'first' })
      await until(() => second.gone, 'the second to be given up')
      await calm(t, door)
      t.equal(door.board.total(1 - at, 'aborted'), 1)
      t.match(door.records, [{ attempts: 2, hedges: 1, status: 200, backend: `b${at}` }])
    })

    t.test('an answer in time, or a failure, and nobody else is asked', async t => {
      const { door, ask, asked, clock } = await scene(t, { engine })
      const one = await ask()
      one.first.answer(404, 'quick')
      t.match(await one.answer, { status: 404 })
      const two = await ask()
      two.first.reset()
      t.match(await two.answer, { status: 502 })
      await clock.advance(1_000)
      t.equal(asked(), 2)
      await calm(t, door)
    })

    t.test('a poor answer waits for the other; the last one is the answer, whatever it is', async t => {
      const { door, both } = await scene(t, { engine })
      const better = await both()
      better.first.answer(503, 'poor')
      await until(() => door.circuit().requests === 1, 'the poor one to be given up')
      better.second.answer(200, 'good')
      t.match(await better.answer, { status: 200, body: 'good' })
      t.equal(door.board.total(better.at, 'serverErrors'), 1)

      const poor = await both()
      poor.second.answer(503, 'poor')
      await until(() => door.circuit().requests === 1, 'the poor one to be given up')
      poor.first.answer(502, 'the last word')
      t.match(await poor.answer, { status: 502, body: 'the last word' })

      const broken = await both()
      broken.first.reset()
      await until(() => door.circuit().requests === 1, 'the broken one to be over')
      broken.second.answer(200, 'good')
      t.match(await broken.answer, { status: 200, body: 'good' })

      const none = await both()
      none.second.reset()
      await until(() => door.circuit().requests === 1, 'the broken one to be over')
      none.first.reset()
      t.match(await none.answer, { status: 502, body: /upstream_reset/ })
      await calm(t, door)
    })

    t.test('a winner that breaks off breaks the client', async t => {
      const { door, both } = await scene(t, { engine })
      const { answer, first, second } = await both()
      second.response.writeHead(200, { 'content-length': '100' }).write('begun')
      await until(() => first.gone, 'the first to be given up')
      second.reset()
      await t.rejects(answer)
      await calm(t, door)
      t.match(door.records, [{ status: 200, error: 'upstream_reset' }])
    })

    t.test('the client is bound to the one whose answer it got', async t => {
      const affinity = { method: 'cookie', name: 'sid', ttlSeconds: 60 } as const
      const { door, both, ask, clock, asked } = await scene(t, { engine, affinity })
      const jar = new Map<string, string>()
      const { answer, at, second } = await both('/', jar)
      second.answer(200, 'second')
      t.equal([(await answer).headers['set-cookie']].flat().length, 1)
      for (let i = 0; i < 3; i++) {
        const again = await ask('/', jar)
        t.equal(again.at, 1 - at)
        const before = asked()
        await clock.advance(1_000)
        t.equal(asked(), before, 'who is bound is not hedged')
        again.first.answer(200, 'bound')
        await again.answer
      }
      await calm(t, door)
    })

    t.test('a client that leaves takes both along', async t => {
      const { door, clock, asked, stages } = await scene(t, { engine })
      const client = await rawClient(door.port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
      await until(() => asked() === 1, 'the first try')
      await clock.advance(200)
      await until(() => asked() === 2, 'the second try')
      client.socket.resetAndDestroy()
      await until(() => stages.every(({ acts }) => acts[0]!.gone), 'both to be given up')
      await calm(t, door)
      t.match(door.records, [{ error: 'client_closed', attempts: 2, hedges: 1 }])
    })

    t.test('only what may be asked twice', async t => {
      const { door, asked, clock } = await scene(t, { engine })
      const post = get(door.port, '/', { method: 'POST', body: 'x' })
      post.catch(() => {})
      await until(() => asked() === 1, 'the only try')
      const socket = new WebSocket(`ws://127.0.0.1:${door.port}/`)
      const gone = once(socket, 'error')
      await until(() => asked() === 2, 'the handshake')
      await clock.advance(1_000)
      t.equal(asked(), 2)
      t.equal(door.context.exchanges.size, 2)
      socket.terminate()
      await gone
    })

    t.test('no place, no share, no budget, nobody else: it goes on alone', async t => {
      const alone = async (over: Over, closeOther = false) => {
        const { door, ask, asked, clock } = await scene(t, { engine, ...over })
        const { answer, at, first } = await ask()
        if (closeOther) door.board.admit(1 - at, 1, 'none')
        await clock.advance(1_000)
        t.equal(asked(), 1)
        t.equal(door.circuit().requests, 1)
        first.answer(200, 'alone')
        t.match(await answer, { status: 200, body: 'alone' })
        t.match(door.records, [{ attempts: 1, hedges: 0 }])
        await calm(t, door)
      }
      await alone({ limits: { requests: 1 } })
      await alone({ hedge: { maxPercent: 50 } })
      await alone({ retries: { budgetRatio: 0, budgetMinPerSecond: 0 } })
      await alone({}, true)
    })

    t.test('a member that vanishes ends its own part only', async t => {
      const { door, both } = await scene(t, { engine })
      const { answer, at, first, second } = await both()
      door.context.exchanges.cutMember(at, 1)
      await until(() => first.gone, 'the first to be cut')
      t.equal(door.circuit().requests, 1)
      second.answer(200, 'second')
      t.match(await answer, { status: 200, body: 'second' })

      const last = await both()
      door.context.exchanges.cutMember(last.at, 1)
      door.context.exchanges.cutMember(1 - last.at, 1)
      t.match(await last.answer, { status: 502, body: /upstream_reset/ })
      await calm(t, door)
    })
  })
