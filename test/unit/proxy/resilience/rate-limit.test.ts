import t from 'tap'
import type { RateLimitConfig } from '../../../../lib/config/config.ts'
import { RateLimit } from '../../../../lib/proxy/resilience/rate-limit.ts'
import { RateTable } from '../../../../lib/proxy/resilience/rate-table.ts'
import { seed, seeded } from '../../../support/members.ts'

const key = Uint8Array.from({ length: 16 }, (_, i) => i * 7)
const config = (over: Partial<RateLimitConfig> = {}): RateLimitConfig => ({
  requestsPerSecond: 10,
  burst: 5,
  header: null,
  clientsMax: 1_000,
  ...over,
})
const limitOf = (over: Partial<RateLimitConfig> = {}) => {
  const it = config(over)
  return new RateLimit(it, RateTable.create(it.clientsMax, key))
}
const startMs = 1_700_000_000_000
/** How many of `times` requests of one moment are granted. */
const granted = (limit: RateLimit, times: number, nowMs: number, ip = '192.0.2.1') => {
  let sum = 0
  for (let i = 0; i < times; i++) if (limit.take(ip, undefined, nowMs) === 0) sum++
  return sum
}

t.test('a burst at once, then the rate, and the wait that is told is the true one', async t => {
  const limit = limitOf()
  t.equal(granted(limit, 20, startMs), 5)
  t.equal(limit.take('192.0.2.1', undefined, startMs), 100)
  t.equal(limit.take('192.0.2.1', undefined, startMs + 99), 1)
  t.equal(granted(limit, 20, startMs + 100), 1)
  t.equal(granted(limit, 20, startMs + 400), 3)
  t.equal(granted(limit, 20, startMs + 10_000), 5, 'a rest brings the burst back, and no more')
  t.equal(granted(limit, 20, startMs + 10_000, '192.0.2.2'), 5, 'others are others')
})

t.test('a clock that is a little behind grants nothing more', async t => {
  for (const behindMs of [0.25, 5, 2_000]) {
    const limit = limitOf()
    t.equal(granted(limit, 20, startMs), 5)
    t.equal(granted(limit, 20, startMs - behindMs), 0, `${behindMs} ms`)
    t.equal(granted(limit, 20, startMs + 100), 1, 'and takes nothing away')
  }
  const limit = limitOf()
  t.equal(granted(limit, 20, startMs), 5)
  t.equal(granted(limit, 20, startMs - 60_000), 5, 'one that was set back is begun anew')
})

t.test('over a long time it is the rate, whatever the steps', async t => {
  const start = seed()
  const random = seeded(start)
  for (const requestsPerSecond of [0.5, 7, 333, 20_000]) {
    const limit = limitOf({ requestsPerSecond, burst: Math.max(1, Math.ceil(requestsPerSecond / 2)) })
    let nowMs = startMs
    let sum = 0
    const asks = Math.min(20_000, Math.ceil(requestsPerSecond * 30))
    const stepMs = 20_000 / asks
    for (let i = 0; i < asks * 2; i++) {
      sum += granted(limit, 2, nowMs)
      nowMs += random() * stepMs
    }
    const fair = ((nowMs - startMs) / 1000) * requestsPerSecond + limit.config.burst
    t.ok(sum <= fair + 1, `${requestsPerSecond}/s: ${sum} of at most ${fair} (SEED=${start})`)
    if (requestsPerSecond === 333) t.ok(sum >= fair * 0.95, 'and not much less, where enough is asked')
  }
})

t.test('threads share one count', async t => {
  const buffer = RateTable.create(1_000, key)
  const one = new RateLimit(config(), buffer)
  const other = new RateLimit(config(), buffer)
  t.equal(granted(one, 3, startMs), 3)
  t.equal(granted(other, 9, startMs), 2)
})

/** Whatever another thread asks for between two writes of this one: it is one count. */
t.test('a thread that asks in the middle of another one’s grant is granted no more than is left', async t => {
  const swap = Atomics.compareExchange
  for (const burst of [1, 3]) {
    for (const atWrite of [1, 2]) {
      const it = config({ burst })
      const table = RateTable.create(it.clientsMax, key)
      const [one, other] = [new RateLimit(it, table), new RateLimit(it, table)]
      const before = granted(one, burst - 1, startMs)
      let between = 0
      let writes = 0
      const compareExchange = (cells: Int32Array, at: number, expected: number, value: number): number => {
        const found = swap(cells, at, expected, value)
        if (++writes === atWrite) between = granted(other, 2, startMs)
        return found
      }
      Object.assign(Atomics, { compareExchange })
      try {
        t.equal(before + granted(one, 1, startMs) + between, burst, `burst ${burst}, after write ${atWrite}`)
      } finally {
        Object.assign(Atomics, { compareExchange: swap })
      }
      t.ok(writes >= atWrite)
    }
  }
})

t.test('a client is an IPv4 address, an IPv6 network of 64 bits, or what the header says', async t => {
  const limit = limitOf({ burst: 1 })
  t.equal(limit.take('2001:db8::1', undefined, startMs), 0)
  t.not(limit.take('2001:db8::2', undefined, startMs), 0)
  t.equal(limit.take('2001:db8:0:1::2', undefined, startMs), 0)
  t.equal(limit.take('192.0.2.1', undefined, startMs), 0)
  t.not(limit.take('::ffff:192.0.2.1', undefined, startMs), 0)

  const named = limitOf({ burst: 1, header: 'x-api-key' })
  t.equal(named.take('192.0.2.1', 'k1', startMs), 0)
  t.equal(named.take('192.0.2.1', 'k2', startMs), 0)
  t.not(named.take('192.0.2.9', 'k1', startMs), 0)
  t.equal(named.take('192.0.2.1', undefined, startMs), 0)
  t.not(named.take('192.0.2.1', undefined, startMs), 0, 'without the header the address counts')
  t.not(named.take('192.0.2.1', '', startMs), 0)
  t.equal(named.take('203.0.113.1', '192.0.2.1', startMs), 0, 'a name is not the address it spells')
})

t.test('what a refused client is told', async t => {
  t.same(limitOf({ requestsPerSecond: 0.1, burst: 3 }).fields(8_200), [
    ['Retry-After', '9'],
    ['RateLimit-Policy', '"client";q=3;w=30'],
    ['RateLimit', '"client";r=0;t=9'],
  ])
  t.same(limitOf().fields(1)[0], ['Retry-After', '1'])
})

t.test('a crowd in a small table: the busy are held, hardly anybody is held for them', async t => {
  const limit = limitOf({ requestsPerSecond: 10, burst: 10, clientsMax: 1_024 })
  for (let i = 0; i < 100; i++) granted(limit, 100, startMs, `10.0.0.${i}`)
  let wronged = 0
  for (let i = 0; i < 2_000; i++) if (granted(limit, 1, startMs, `10.1.${i >> 8}.${i & 255}`) === 0) wronged++
  // Both cells of a client fall on those of a hundred busy ones: about (100 / 1024)², one in a hundred.
  t.ok(wronged < 60, `${wronged} of 2000`)
  for (let i = 0; i < 100; i++)
    t.equal(granted(limit, 1, startMs, `10.0.0.${i}`), 0, 'nobody is freed by others')
})

t.test('a clock that is set back or forward locks nobody out', async t => {
  const limit = limitOf()
  t.equal(granted(limit, 9, startMs), 5)
  t.equal(granted(limit, 9, startMs - 3_600_000), 5, 'an hour back')
  t.equal(granted(limit, 9, startMs + 86_400_000), 5, 'a day ahead')
})

t.test('71 minutes later a silent client is not taken for a busy one', async t => {
  const wrapMs = 2 ** 32 / 1000
  const buffer = RateTable.create(1_000, key)
  const limit = new RateLimit(config({ burst: 1 }), buffer)
  const table = new RateTable(buffer)
  t.equal(granted(limit, 9, startMs), 1)
  t.equal(granted(limit, 9, startMs + wrapMs), 0, 'the number has come round: this is what the sweep is for')
  for (let minutes = 0; minutes < 71; minutes += 0.5) table.sweep(startMs + minutes * 60_000, 1 / 32)
  t.equal(granted(limit, 9, startMs + wrapMs), 1)
  table.sweep(startMs + wrapMs, 1)
  t.equal(granted(limit, 9, startMs + wrapMs), 0, 'what is not idle is not swept')
  const justBefore = 2 ** 32 * 395 - 1
  t.equal(granted(limitOf({ burst: 1 }), 1, justBefore), 1, 'an untouched cell is idle at every moment')
})
