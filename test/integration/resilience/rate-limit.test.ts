/** `rate_limit`, end to end: who is refused, what they are told, and who is not affected. */
import t, { type Test } from 'tap'
import type { RateLimitConfig } from '../../../lib/config/config.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { answers, calm, stage } from '../../support/stage.ts'
import { type FrontDoorOptions, openFrontDoor, rawClient, until } from '../../support/traffic.ts'

/** One request a second, two at once. */
async function scene(t: Test, options: Partial<FrontDoorOptions>, over: Partial<RateLimitConfig> = {}) {
  const clock = new ManualClock()
  const backend = await stage(t, answers(200, 'served'))
  const rateLimit = { requestsPerSecond: 1, burst: 2, header: null, clientsMax: 1_000, ...over }
  const door = await openFrontDoor({ clock, backends: [backend.port], resilience: { rateLimit }, ...options })
  t.teardown(() => door.close())
  /** The status of one request with these lines in its head. */
  const ask = async (lines = ''): Promise<number> => {
    const client = await rawClient(
      door.port,
      `GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${lines}\r\n`,
    )
    return Number((await client.waitClosed()).slice(9, 12))
  }
  const from = (address: string) => ask(`X-Forwarded-For: ${address}\r\n`)
  return { door, clock, backend, ask, from }
}

for (const engine of ['relay', 'http-proxy-3'] as const)
  t.test(engine, async t => {
    t.test('429 says when to come back, and keeps the connection', async t => {
      const { door, clock, backend } = await scene(t, { engine })
      const client = await rawClient(door.port)
      const next = async () => {
        const before = client.text().length
        client.send('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
        const ended = () => /served|in Retry-After\.\n/.test(client.text().slice(before))
        await until(() => ended() || client.closed, 'an answer')
        return client.text().slice(before)
      }
      t.match(await next(), /^HTTP\/1\.1 200 /)
      t.match(await next(), /^HTTP\/1\.1 200 /)
      const refused = await next()
      t.match(refused, /^HTTP\/1\.1 429 Too Many Requests\r\n/)
      t.match(
        refused,
        /\r\nRetry-After: 1\r\nRateLimit-Policy: "client";q=2;w=2\r\nRateLimit: "client";r=0;t=1\r\n/,
      )
      t.notMatch(refused, /Connection: close/)
      t.equal(refused.match(/Retry-After:/g)?.length, 1)
      await clock.advance(999)
      t.match(await next(), /^HTTP\/1\.1 429 /)
      await clock.advance(1)
      t.match(await next(), /^HTTP\/1\.1 200 /, 'refused requests were not counted')
      t.match(await next(), /^HTTP\/1\.1 429 /)
      t.equal(backend.acts.length, 3)
      client.socket.destroy()
      await calm(t, door)
      t.match(door.records[2], { error: 'rate_limited', status: 429, attempts: 0, ending: 'PR' })
    })

    t.test('a body that is not read ends the connection', async t => {
      const { door, ask } = await scene(t, { engine })
      t.same([await ask(), await ask()], [200, 200])
      const client = await rawClient(door.port, 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n')
      await client.expect('429')
      client.send('12345')
      t.match(await client.waitClosed(), /^HTTP\/1\.1 429 [\s\S]*Connection: close\r\n/)
      await calm(t, door)
    })

    t.test('each client by itself; of IPv6 a client is a /64', async t => {
      const { door, from } = await scene(t, { engine, trustedProxies: ['127.0.0.1'] })
      t.same([await from('192.0.2.1'), await from('192.0.2.1'), await from('192.0.2.1')], [200, 200, 429])
      t.same([await from('192.0.2.2'), await from('192.0.2.2')], [200, 200], 'another')
      t.same(
        [await from('2001:db8::1'), await from('2001:db8::2:3'), await from('2001:db8::4')],
        [200, 200, 429],
      )
      t.equal(await from('2001:db8:0:1::1'), 200, 'the next network')
      t.equal(await from('192.0.2.1, 198.51.100.7'), 200, 'what the client itself made up is not believed')
      await calm(t, door)
    })

    t.test('from nobody who is trusted: the peer counts, whatever it says', async t => {
      const { door, from } = await scene(t, { engine })
      t.same([await from('192.0.2.1'), await from('192.0.2.2'), await from('192.0.2.3')], [200, 200, 429])
      await calm(t, door)
    })

    t.test('by a header; without it by the address', async t => {
      const { door, ask } = await scene(t, { engine }, { header: 'x-api-key' })
      const key = (name: string) => ask(`X-Api-Key: ${name}\r\n`)
      t.same([await key('a'), await key('a'), await key('a')], [200, 200, 429])
      t.same([await key('b'), await key('b')], [200, 200])
      t.same([await ask(), await ask(), await ask()], [200, 200, 429])
      t.equal(await key('127.0.0.1'), 200, 'a name is no address')
      await calm(t, door)
    })
  })
