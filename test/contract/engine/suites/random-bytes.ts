/**
 * Nothing that anybody sends, from either side, ends the process or leaves an exchange behind. Seeded: the seed is printed, and
 * `SEED=n` replays it.
 */
import t from 'tap'
import {
  inFlight,
  openFrontDoor,
  openRawBackend,
  type RawClient,
  rawClient,
  tunnelCount,
  until,
} from '../../../support/traffic.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
const rounds = 400

/** mulberry32: small, and the same everywhere. */
function generator(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = Math.imul(state ^ (state >>> 15), state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
}

const requests = [
  'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
  'POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello',
  'DELETE /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n',
  'GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n\x81\x85abcdefghi',
  'PUT http://[::1]:80/c?d HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close, x\r\n\r\nabc',
  'HEAD / HTTP/1.0\r\n\r\n',
]
const answers = [
  'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n',
  'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x05hello\x88\x02\x03\xe8',
  'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n',
  'HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nuntil the end',
  'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n',
]

t.test(`random bytes from both sides, seed ${seed}`, async t => {
  const random = generator(seed)
  const below = (n: number) => Math.floor(random() * n)
  const mangled = (texts: readonly string[]): string => {
    let text = texts[below(texts.length)]!
    for (let changes = below(4); changes > 0; changes--) {
      const at = below(text.length + 1)
      const byte = String.fromCharCode(below(256))
      const kind = below(4)
      if (kind === 0) text = text.slice(0, at) + byte + text.slice(at + 1)
      else if (kind === 1) text = text.slice(0, at) + byte.repeat(1 + below(40)) + text.slice(at)
      else if (kind === 2) text = text.slice(0, at) + text.slice(at + 1 + below(20))
      else text = text.slice(0, at)
    }
    return text
  }
  const backend = await openRawBackend(socket => {
    const bytes = Buffer.from(mangled(answers), 'latin1')
    const cut = below(bytes.length + 1)
    socket.write(bytes.subarray(0, cut))
    setImmediate(() => {
      if (socket.destroyed) return
      socket.write(bytes.subarray(cut))
      const end = below(4)
      if (end === 0) socket.end()
      else if (end === 1) socket.resetAndDestroy()
    })
  })
  const doors = await Promise.all(
    Array.from({ length: 2 }, () =>
      openFrontDoor({
        backends: [backend.port],
        timeouts: { headerMs: 200, idleMs: 200, tunnelIdleMs: 200 },
      }),
    ),
  )
  const failures: unknown[] = []
  process.on('uncaughtException', error => failures.push(error))
  process.on('unhandledRejection', error => failures.push(error))
  for (let round = 0; round < rounds; round += 20) {
    const batch: Promise<RawClient>[] = []
    for (let i = 0; i < 20; i++) batch.push(rawClient(doors[i % 2]!.port))
    for (const client of await Promise.all(batch)) {
      const bytes = mangled(requests)
      const at = below(bytes.length + 1)
      client.send(bytes.slice(0, at))
      setImmediate(() => {
        client.send(bytes.slice(at))
        const end = below(3)
        if (end === 0) client.socket.end()
        else if (end === 1) client.socket.resetAndDestroy()
        else setTimeout(() => client.socket.destroy(), below(50))
      })
    }
    if (round % 100 === 0) for (const door of doors) door.context.tunnels.closeMember(0, 1, 1001, 'fuzz')
  }
  for (const door of doors) {
    await until(
      () => door.context.exchanges.size === 0 && door.context.tunnels.size === 0,
      `the end of everything, seed ${seed}`,
    )
    t.same([inFlight(door), tunnelCount(door), door.listener.exchanges()], [0, 0, 0], `seed ${seed}`)
    const client = await rawClient(door.port, 'GET / HTTP/1.1\r\n\r\n')
    t.match(await client.waitClosed(), /^HTTP\/1\.1 400 /, 'it still answers')
    await door.close()
  }
  t.same(failures, [], `seed ${seed}`)
  await backend.close()
})
