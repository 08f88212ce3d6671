/** Frames that mean little, from clients and from backends: nothing throws, nothing is left behind, and others are served as ever. */

import { connect } from 'node:http2'
import { connect as connectTcp, createServer } from 'node:net'
import t from 'tap'
import { TlsHolder } from '../../../lib/proxy/tls/holder.ts'
import { Authority, listenerTls, materialOf } from '../../support/certificates.ts'
import { frame, getHeaders, postHeaders, rawH2Client } from '../../support/h2-frames.ts'
import { seed, seeded } from '../../support/members.ts'
import {
  closeServer,
  inFlight,
  listenOn,
  openFrontDoor,
  openRawBackend,
  until,
} from '../../support/traffic.ts'

const start = seed()
const random = seeded(start)
const number = (below: number) => Math.floor(random() * below)
const bytes = (most: number) => Buffer.from(Array.from({ length: number(most) }, () => number(256)))
/** `:status: 200` and nothing else. */
const okHeaders = Buffer.from([0x88])

function randomFrame(turn: number, heads: readonly Buffer[]): Buffer {
  const type = random() < 0.8 ? number(10) : number(256)
  const stream = random() < 0.7 ? 1 + 2 * Math.floor(turn / 3) : number(100)
  const flags = random() < 0.6 ? 4 | number(2) : number(256)
  if (type === 1 && random() < 0.8) return frame(type, flags, stream, heads[number(heads.length)]!)
  if (type === 3) return frame(type, flags, stream, Buffer.from([0, 0, 0, number(14)]))
  if (type === 8) return frame(type, flags, stream, Buffer.from([0, 0, number(2), number(256)]))
  return frame(type, flags, stream, bytes(20))
}

t.test('clients', async t => {
  t.comment(`SEED=${start}`)
  const backend = await openRawBackend((socket, text) => {
    if (text.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
  })
  const door = await openFrontDoor({ backends: [backend.port], listener: { protocol: 'h2c' } })
  for (let round = 0; round < 200; round++) {
    const client = await rawH2Client(door.port)
    for (let turn = 0; turn < 30; turn++) client.send(randomFrame(turn, [getHeaders, postHeaders]))
    if (random() < 0.5) await new Promise(resolve => setImmediate(resolve))
    client.socket.destroy()
  }
  await until(() => door.context.exchanges.size === 0 && inFlight(door) === 0, 'nothing to be left')
  const client = connect(door.url)
  const stream = client.request({ ':path': '/' })
  let body = ''
  for await (const chunk of stream.setEncoding('utf8')) body += chunk
  t.equal(body, 'ok')
  client.destroy()
  await door.close()
  await backend.close()
})

t.test('backends', async t => {
  t.comment(`SEED=${start}`)
  const server = createServer(socket => {
    socket.on('error', () => {})
    socket.write(frame(4, 0, 0))
    let turn = 0
    socket.on('data', () => {
      for (let i = 0; i < 10; i++) socket.write(randomFrame(turn++ % 9, [okHeaders]))
      if (random() < 0.3) socket.destroy()
    })
  })
  const port = await listenOn(server)
  const timeouts = { headerMs: 300, idleMs: 300, connectMs: 300 }
  const door = await openFrontDoor({
    backends: [port],
    protocol: 'h2',
    listener: { protocol: 'h2c' },
    timeouts,
  })
  const client = connect(door.url)
  client.on('error', () => {})
  for (let round = 0; round < 20; round++) {
    const asked = Array.from({ length: 10 }, () => {
      const stream = client.request({ ':path': '/', ':method': random() < 0.5 ? 'GET' : 'POST' })
      stream.on('error', () => {})
      stream.end()
      stream.resume()
      return new Promise(resolve => stream.once('close', resolve))
    })
    await Promise.all(asked)
  }
  t.notOk(client.destroyed, 'the client is not made to pay for it')
  await until(() => door.context.exchanges.size === 0 && inFlight(door) === 0, 'nothing to be left')
  client.destroy()
  await door.close()
  await closeServer(server)
})

t.test('what comes instead of TLS', async t => {
  t.comment(`SEED=${start}`)
  const ca = new Authority(t.testdir())
  const tls = listenerTls([ca.issue('server')], { handshakeTimeoutMs: 300 })
  const door = await openFrontDoor({
    backends: [1],
    listener: { tls },
    tls: new TlsHolder(materialOf([tls])),
  })
  const closed: Promise<unknown>[] = []
  for (let round = 0; round < 100; round++) {
    const socket = connectTcp(door.port, '127.0.0.1')
    socket.on('error', () => {})
    // An alert that is not read keeps a connection open.
    socket.resume()
    socket.write(
      random() < 0.5 ? bytes(200) : Buffer.concat([Buffer.from([0x16, 3, 1, 0, number(200)]), bytes(300)]),
    )
    closed.push(new Promise(resolve => socket.once('close', resolve)))
  }
  await Promise.all(closed)
  t.equal(door.context.exchanges.size, 0)
  await door.close()
})
