/** What is told of an exchange: the bytes that passed and not those that were announced, how far it came, and who spoke what. */
import t from 'tap'
import { TlsHolder } from '../../../../lib/proxy/tls/holder.ts'
import { materialOf } from '../../../support/certificates.ts'
import { openFrontDoor, openRawBackend, rawClient, until } from '../../../support/traffic.ts'

const large = 'b'.repeat(300_000)

t.test('bytes are counted as they pass', async t => {
  const backend = await openRawBackend((socket, text) => {
    if (text.endsWith('0123456789')) socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n${large}`)
    if (text.includes('HEAD /') && text.endsWith('\r\n\r\n'))
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n')
  })
  const routes = [{ host: '*', path: '/known' }]
  const door = await openFrontDoor({ backends: [backend.port], routes })
  const client = await rawClient(door.port)
  const ask = async (text: string, seen: number) => {
    client.send(text)
    await until(
      () => door.records.length === seen,
      () => `${seen} records, ${client.text().slice(-100)}`,
    )
    const { status, bytesIn, bytesOut } = door.records[seen - 1]!
    return [status, bytesIn, bytesOut]
  }
  const post = (rest: string) => `POST /known HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n${rest}`
  t.strictSame(await ask(post('0123456789'), 1), [200, 10, 300_000])
  t.strictSame(await ask('HEAD /known HTTP/1.1\r\nHost: x\r\n\r\n', 2), [200, 0, 0], 'announced is not sent')
  const [status, into, out] = await ask('GET /other HTTP/1.1\r\nHost: x\r\n\r\n', 3)
  t.strictSame([status, into], [404, 0])
  t.ok(out! > 20 && out! < 200, `our own answer has ${out} bytes, and nothing of the one before`)
  const leaving = await rawClient(door.port, post('01234'))
  await until(() => backend.received().endsWith('01234'), 'half a body at the backend')
  leaving.socket.destroy()
  await until(() => door.records.length === 4, 'the end of it')
  t.match(door.records[3], { status: 0, bytesIn: 5, bytesOut: 0, ending: 'CU' })
  await door.close()
  await backend.close()
})

t.test('a client that leaves while the backend is being connected to', async t => {
  const silent = await openRawBackend(() => {})
  const tls = { ca: null, pair: null, serverName: null, verify: false }
  const holder = new TlsHolder(materialOf([], [tls]))
  const door = await openFrontDoor({ backends: [silent.port], upstreamTls: tls, tls: holder })
  const client = await rawClient(door.port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  await until(() => silent.received() !== '', 'the beginning of a handshake')
  client.socket.resetAndDestroy()
  await until(() => door.records.length === 1, 'the end of it')
  t.match(door.records[0], { error: 'client_closed', ending: 'CC' })
  await door.close()
  await silent.close()
})

t.test('Via says what was spoken on each side, TE is announced, an empty Host names nobody', async t => {
  const backend = await openRawBackend(socket => {
    socket.end('HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok')
  })
  const door = await openFrontDoor({ backends: [backend.port] })
  const modern = await rawClient(
    door.port,
    'GET / HTTP/1.1\r\nHost: x\r\nTE: gzip, trailers\r\nConnection: close\r\n\r\n',
  )
  t.match(await modern.waitClosed(), /\r\nVia: 1\.0 tidegate\r\n/i, 'the backend spoke HTTP/1.0')
  t.match(backend.received(), /\r\nvia: 1\.1 tidegate\r\n/i)
  t.match(backend.received(), /\r\nte: trailers\r\n/i)
  t.match(backend.received(), /\r\nconnection: TE\r\n/i)
  const nameless = await rawClient(door.port, 'GET /nameless HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n')
  await nameless.waitClosed()
  const asked = backend.received().split('GET /nameless')[1]!
  t.notMatch(asked, /x-forwarded-host/i)
  t.match(asked, /\r\nhost: 127\.0\.0\.1:\d+\r\n/i)
  const old = await rawClient(door.port, 'GET /old HTTP/1.0\r\n\r\n')
  await old.waitClosed()
  t.match(backend.received().split('GET /old')[1], /\r\nvia: 1\.0 tidegate\r\n/i)
  await door.close()
  await backend.close()
})
