/** `request_body`, end to end: what is too long reaches no backend whole, however it is sent. */
import { once } from 'node:events'
import { connect as connectH2 } from 'node:http2'
import t, { type Test } from 'tap'
import { noLimits } from '../../../lib/proxy/resilience/plain.ts'
import { calm } from '../../support/stage.ts'
import {
  type FrontDoorOptions,
  openFrontDoor,
  openRawBackend,
  rawClient,
  until,
} from '../../support/traffic.ts'

const limit = 1_000

async function scene(t: Test, options: Partial<FrontDoorOptions>) {
  const backend = await openRawBackend((socket, text) => {
    // Answers what is whole; `/early` as soon as it is asked.
    const whole = text.endsWith('0\r\n\r\n') || text.endsWith('\r\n\r\n'.padEnd(4 + limit, 'b'))
    if (text.startsWith('POST /early') && !text.includes('said'))
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nearly')
    else if (whole) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole')
  })
  const door = await openFrontDoor({
    backends: [backend.port],
    resilience: { limits: { ...noLimits, requests: 10, requestBodyBytes: limit } },
    ...options,
  })
  t.teardown(async () => {
    await door.close()
    await backend.close()
  })
  return { door, backend }
}

const chunk = (bytes: number) => `${bytes.toString(16)}\r\n${'b'.repeat(bytes)}\r\n`
const chunked = 'Host: x\r\nTransfer-Encoding: chunked\r\n\r\n'

for (const engine of ['relay', 'http-proxy-3'] as const)
  t.test(engine, async t => {
    t.test('a length that is told is refused at once, before a byte is asked for', async t => {
      const { door, backend } = await scene(t, { engine })
      const head = `POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${limit + 1}\r\n`
      const client = await rawClient(door.port, `${head}\r\n`)
      const text = await client.waitClosed()
      t.match(text, /^HTTP\/1\.1 413 [\s\S]*Connection: close\r\n[\s\S]*payload_too_large/)
      const patient = await rawClient(door.port, `${head}Expect: 100-continue\r\n\r\n`)
      t.match(await patient.waitClosed(), /^HTTP\/1\.1 413 /, 'no 100 Continue')
      t.equal(backend.connections(), 0)
      await calm(t, door)
      t.match(door.records, [
        { error: 'payload_too_large', status: 413, attempts: 0 },
        { error: 'payload_too_large' },
      ])
    })

    t.test('what is exactly as long as it may be passes, told or in chunks', async t => {
      const { door } = await scene(t, { engine })
      const told = await rawClient(
        door.port,
        `POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${limit}\r\n\r\n`,
      )
      told.send('b'.repeat(limit))
      await told.expect('whole')
      const parts = await rawClient(door.port, `POST / HTTP/1.1\r\n${chunked}${chunk(limit - 1)}`)
      parts.send(`${chunk(1)}0\r\n\r\n`)
      await parts.expect('whole')
      t.notOk(parts.closed)
      await calm(t, door)
    })

    t.test('chunks are counted: 413 as soon as it is too much, and the backend is left alone', async t => {
      const { door, backend } = await scene(t, { engine })
      const client = await rawClient(door.port, `POST / HTTP/1.1\r\n${chunked}${chunk(limit)}`)
      await until(() => backend.received().includes('b'.repeat(limit)), 'what may pass')
      client.send(chunk(1))
      await client.expect('payload_too_large')
      t.match(client.text(), /^HTTP\/1\.1 413 [\s\S]*Connection: close\r\n/)
      await until(() => backend.sockets.size === 0, 'the backend connection to close')
      t.equal(backend.received().split('b'.repeat(limit)).length, 2)
      t.notMatch(backend.received(), /\r\n0\r\n\r\n$/, 'what it has never looks whole')
      client.send(`${chunk(50_000)}0\r\n\r\n`)
      await client.waitClosed()
      await calm(t, door)
      t.match(door.records, [{ error: 'payload_too_large', status: 413, attempts: 1 }])
      t.match([door.board.total(0, 'failed'), door.board.total(0, 'aborted')], [0, 1], 'not its fault')
    })

    t.test('all in one piece, with its end', async t => {
      const { door, backend } = await scene(t, { engine })
      const client = await rawClient(door.port, `POST / HTTP/1.1\r\n${chunked}${chunk(50_000)}0\r\n\r\n`)
      t.match(await client.waitClosed(), /^HTTP\/1\.1 413 /)
      await until(() => backend.sockets.size === 0, 'the backend connection to close')
      t.notMatch(backend.received(), /b/)
      await calm(t, door)
    })

    t.test('after the answer has begun: the connection breaks', async t => {
      const { door, backend } = await scene(t, { engine })
      const client = await rawClient(door.port, `POST /early HTTP/1.1\r\n${chunked}${chunk(10)}`)
      await client.expect('early')
      client.send(chunk(limit))
      t.notMatch(await client.waitClosed(), /413/)
      await until(() => backend.sockets.size === 0, 'the backend connection to close')
      await calm(t, door)
      t.match(door.records, [{ error: 'payload_too_large', status: 200 }])
    })

    t.test('HTTP/2: the same, on one stream', async t => {
      const { door } = await scene(t, { engine, listener: { protocol: 'h2c' } })
      const session = connectH2(door.url)
      const post = async (bytes: number, headers: object = {}) => {
        const stream = session.request({ ':method': 'POST', ':path': '/', ...headers })
        stream.on('error', () => {})
        const answered = once(stream, 'response')
        stream.write('b'.repeat(bytes))
        stream.end()
        stream.resume()
        return (await answered)[0][':status']
      }
      t.equal(await post(limit + 1, { 'content-length': limit + 1 }), 413)
      t.equal(await post(limit + 1), 413)
      t.equal(await post(limit), 200)
      t.notOk(session.destroyed, 'the connection lives on')
      session.close()
      await calm(t, door)
    })
  })
