/** Retries, end to end: what is asked again and of whom, what is not, what it costs, and that nothing stays counted. */
import t, { type Test } from 'tap'
import type { RetriesConfig } from '../../../lib/config/config.ts'
import { noLimits } from '../../../lib/proxy/resilience/plain.ts'
import { ordinaryRetries } from '../../../lib/proxy/retry.ts'
import { get } from '../../support/load.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { answers, calm, stage } from '../../support/stage.ts'
import {
  type FrontDoor,
  type FrontDoorOptions,
  openFrontDoor,
  openRawBackend,
  rawClient,
  until,
} from '../../support/traffic.ts'

const long = 'answer '.repeat(30_000)

/** Before so many backends, with retries as said, under a circuit that must come out empty. */
async function scene(
  t: Test,
  retries: Partial<RetriesConfig>,
  options: FrontDoorOptions,
): Promise<{ door: FrontDoor; clock: ManualClock }> {
  const clock = new ManualClock()
  const resilience = {
    retries: { ...ordinaryRetries, ...retries },
    limits: { ...noLimits, requests: 50 },
  }
  const door = await openFrontDoor({ clock, random: () => 0, resilience, ...options })
  t.teardown(() => door.close())
  return { door, clock }
}

const counts = ({ board }: FrontDoor, slot: number) => ({
  serverErrors: board.total(slot, 'serverErrors'),
  failed: board.total(slot, 'failed'),
})
/** An exchange is there, and no member is counted on. */
const paused = ({ context, board, table }: FrontDoor) =>
  until(() => {
    const loads = [...table.members()].map(({ slot }) => board.total(slot, 'inFlight'))
    return context.exchanges.size === 1 && loads.every(load => load === 0)
  }, 'the pause')
const lastRecord = ({ records }: FrontDoor) => records.at(-1)

for (const engine of ['relay', 'http-proxy-3'] as const)
  t.test(engine, async t => {
    t.test('a 503 is not passed on while another member may do better', async t => {
      const bad = await stage(t, answers(503, long))
      const good = await stage(t, answers(200, long))
      const on = ['connect', 'reused', 503] as const
      const { door } = await scene(t, { on }, { engine, backends: [bad.port, good.port] })
      for (let i = 0; i < 4; i++) t.match(await get(door.port, '/'), { status: 200, body: long })
      // In turn: the retry takes the good one's, and the next request begins with the bad one again.
      t.same([bad.acts.length, good.acts.length], [4, 4])
      t.match(counts(door, 0), { serverErrors: 4, failed: 0 })
      t.match(counts(door, 1), { serverErrors: 0, failed: 0 })
      for (const record of door.records)
        t.match(record, { attempts: 2, status: 200, backend: 'b1', error: null })
      await calm(t, door)
    })

    t.test(
      'only what may be asked twice: no POST, nothing with a body, other statuses as they are',
      async t => {
        const bad = await stage(t, act => act.answer(act.request.url === '/500' ? 500 : 503, 'no'))
        const { door } = await scene(t, { on: [503] }, { engine, backends: [bad.port, bad.port, bad.port] })
        const asked = async (method: string, path: string, body = '') => {
          const before = bad.acts.length
          const head = `${method} ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${body.length}`
          const client = await rawClient(door.port, `${head}\r\n\r\n${body}`)
          await client.waitClosed()
          return bad.acts.length - before
        }
        t.equal(await asked('GET', '/'), 3, 'twice more, each on another member')
        t.equal(await asked('POST', '/'), 1)
        t.equal(await asked('GET', '/', 'with a body'), 1)
        t.equal(await asked('DELETE', '/'), 1, 'idempotent, and not asked for')
        t.equal(await asked('GET', '/500'), 1)
        t.match(lastRecord(door), { status: 500, error: null })
        await calm(t, door)
      },
    )

    t.test('methods: idempotent', async t => {
      const bad = await stage(t, answers(503, 'no'))
      const good = await stage(t, answers(200, 'yes'))
      const retries = { on: [503], methods: 'idempotent' } as const
      const { door } = await scene(t, retries, { engine, backends: [bad.port, good.port] })
      for (const method of ['DELETE', 'PUT', 'DELETE', 'PUT'])
        t.match(await get(door.port, '/', { method }), { status: 200 }, method)
      const posts = [
        await get(door.port, '/', { method: 'POST' }),
        await get(door.port, '/', { method: 'POST' }),
      ]
      t.same(posts.map(({ status }) => status).sort(), [200, 503])
      await calm(t, door)
    })

    t.test('a spent budget passes the 503 on, and comes back with time', async t => {
      const bad = await stage(t, answers(503, 'no'))
      const retries = { on: [503], budgetRatio: 0, budgetMinPerSecond: 1 } as const
      const { door, clock } = await scene(t, retries, { engine, backends: [bad.port, bad.port] })
      for (let i = 0; i < 14; i++) t.match(await get(door.port, '/'), { status: 503, body: 'no' })
      t.equal(bad.acts.length, 14 + 10, 'one a second, for the ten seconds that are looked at')
      await clock.advance(10_000)
      await get(door.port, '/')
      t.equal(bad.acts.length, 24 + 2)
      await calm(t, door)
    })

    t.test(
      'reset before a byte of the answer: another member; after one: the client sees it break',
      async t => {
        const bad = await openRawBackend((socket, text) => {
          if (text.startsWith('GET /begun')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun')
          socket.end()
        })
        t.teardown(() => bad.close())
        const good = await stage(t, answers(200, 'good'))
        const { door } = await scene(t, { on: ['reset'] }, { engine, backends: [bad.port, good.port] })
        for (let i = 0; i < 4; i++) t.match(await get(door.port, '/'), { status: 200, body: 'good' })
        t.match(counts(door, 0), { failed: 4 })
        t.match(counts(door, 1), { failed: 0 })
        const posts = await Promise.all(
          [1, 2].map(() => get(door.port, '/', { method: 'POST', body: 'once' })),
        )
        t.same(posts.map(({ status }) => status).sort(), [200, 502])
        t.equal(bad.received().split('POST /').length - 1, 1)
        t.equal(good.acts.filter(({ request }) => request.method === 'POST').length, 1)
        // Round robin: one of the two meets the member that breaks off.
        const begun = await Promise.allSettled([get(door.port, '/begun'), get(door.port, '/begun')])
        t.same(begun.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
        await calm(t, door)
      },
    )

    t.test('per_try_timeout ends a try that another may follow, and only that', async t => {
      const slow = await stage(t)
      const { door, clock } = await scene(
        t,
        { perTryTimeoutMs: 500, attempts: 1 },
        { engine, backends: [slow.port, slow.port], timeouts: { headerMs: 2_000 } },
      )
      const answer = get(door.port, '/')
      await slow.act(1)
      await clock.advance(800)
      const second = await slow.act(2)
      await until(() => slow.acts[0]!.gone, 'the first try to be given up')
      await clock.advance(1_500)
      second.answer(200, 'late')
      t.match(await answer, { status: 200, body: 'late' }, 'the last try has all the time there is')
      t.equal(counts(door, 0).failed + counts(door, 1).failed, 1)

      const post = get(door.port, '/', { method: 'POST' })
      const third = await slow.act(3)
      await clock.advance(1_500)
      third.answer(200, 'posted')
      t.match(await post, { status: 200 }, 'and so has what is not repeated')
      await calm(t, door)
    })

    t.test('pauses between tries, by chance up to their limit', async t => {
      const bad = await stage(t, answers(503, 'no'))
      const { door, clock } = await scene(
        t,
        { on: [503], attempts: 2 },
        { engine, backends: [bad.port, bad.port, bad.port], random: () => 0.99 },
      )
      const answer = get(door.port, '/')
      for (const [tries, pauseMs] of [
        [1, 25],
        [2, 50],
      ] as const) {
        await bad.act(tries)
        await paused(door)
        t.same(door.circuit(), { requests: 1, tunnels: 0, pending: 0 }, 'its place is kept')
        await clock.advance(pauseMs - 1)
        t.equal(bad.acts.length, tries)
        await clock.advance(1)
      }
      t.match(await answer, { status: 503, body: 'no' })
      t.match(lastRecord(door), { attempts: 3, hedges: 0, status: 503 })
      await calm(t, door)
    })

    t.test('a member that vanishes in the pause after its try ends nothing', async t => {
      const bad = await stage(t, answers(503, 'no'))
      const good = await stage(t, answers(200, 'yes'))
      const options = { engine, backends: [bad.port, good.port], random: () => 0.99 }
      const { door, clock } = await scene(t, { on: [503] }, options)
      let answer = get(door.port, '/')
      // In turn: the first request or the second begins with the bad one.
      const meetsBad = bad.act(1)
      const first = await Promise.race([meetsBad, answer])
      if ('status' in first) answer = get(door.port, '/')
      await meetsBad
      await paused(door)
      door.context.exchanges.cutMember(0, 1)
      await clock.advance(25)
      t.match(await answer, { status: 200, body: 'yes' })
      await calm(t, door)
    })

    t.test('a client that leaves in a pause takes the next try along', async t => {
      const bad = await stage(t, answers(503, 'no'))
      const options = { engine, backends: [bad.port, bad.port], random: () => 0.99 }
      const { door, clock } = await scene(t, { on: [503] }, options)
      const client = await rawClient(door.port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
      await bad.act(1)
      await paused(door)
      client.socket.resetAndDestroy()
      await until(() => door.context.exchanges.size === 0, 'the end of the exchange')
      await clock.advance(1_000)
      t.equal(bad.acts.length, 1)
      t.match(lastRecord(door), { error: 'client_closed', attempts: 1 })
      await calm(t, door)
    })

    t.test(
      'a session stays with its member, whatever that answers; a refused connection is the exception',
      async t => {
        const first = await stage(t, act => act.answer(act.request.url === '/login' ? 200 : 503, 'first'))
        const second = await stage(t, answers(200, 'second'))
        const affinity = { method: 'cookie', name: 'sid', ttlSeconds: 60 } as const
        const options = { engine, affinity, backends: [first.port, second.port] }
        const { door } = await scene(t, { on: ['connect', 503] }, options)
        let jar = new Map<string, string>()
        while ((await get(door.port, '/login', { jar })).body !== 'first') jar = new Map()
        t.match(await get(door.port, '/', { jar }), { status: 503, body: 'first' })
        t.match(lastRecord(door), { attempts: 1 })
        first.server.close()
        ;(first.server as import('node:http').Server).closeAllConnections()
        t.match(await get(door.port, '/', { jar }), { status: 200, body: 'second' })
        t.match(await get(door.port, '/', { jar }), { status: 200, body: 'second' })
        t.match(lastRecord(door), { attempts: 1 }, 'and is there from now on')
        await calm(t, door)
      },
    )

    t.test('nobody else serves: what the member said is the answer', async t => {
      const bad = await stage(t, answers(503, 'so it is'))
      const { door } = await scene(t, { on: [503] }, { engine, backends: [bad.port, bad.port] })
      door.board.admit(1, 1, 'bound')
      t.match(await get(door.port, '/'), { status: 503, body: 'so it is' })
      t.match(lastRecord(door), { attempts: 1, error: null })
      await calm(t, door)
    })
  })
