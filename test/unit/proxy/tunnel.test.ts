import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import t from 'tap'
import { Board } from '../../../lib/cluster/board.ts'
import { Member } from '../../../lib/cluster/member.ts'
import { Tunnel, Tunnels, WaitingClient } from '../../../lib/proxy/tunnel.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { closeServer, listenOn, until } from '../../support/traffic.ts'

async function setup() {
  const server = createServer({ allowHalfOpen: true })
  const port = await listenOn(server)
  const browser = connect(port, '127.0.0.1')
  const [client] = (await once(server, 'connection')) as [Socket]
  const board = Board.create(1)
  board.admit(3, 1, 'any')
  const member = new Member(
    { id: 'm', incarnation: 'm-1', host: 'h', port: 1, weight: 1, slot: 3, epoch: 1 },
    board,
    0,
  )
  const clock = new ManualClock()
  const tunnels = new Tunnels({ clock })
  const tunnel = new Tunnel({ member, client, idleMs: 60_000, tunnels })
  const counts = () => [board.total(3, 'inFlight'), board.total(3, 'tunnels'), tunnels.size]
  const close = async () => {
    browser.destroy()
    client.destroy()
    await closeServer(server)
  }
  return { browser, client, member, board, clock, tunnels, tunnel, counts, close }
}

t.test('an exchange becomes a tunnel, and a tunnel ends, exactly once', async t => {
  const { browser, member, tunnel, tunnels, counts, close } = await setup()
  member.enter(false)
  t.same(counts(), [1, 0, 0])
  tunnel.open('HTTP/1.1 101 Go\r\n\r\n', [Buffer.from([0x81])])
  t.same(counts(), [0, 1, 1])
  browser.write(Buffer.from([0x80, 1, 2, 3, 4]))
  const got: Buffer[] = []
  tunnel.on('data', chunk => got.push(chunk))
  await until(() => Buffer.concat(got).length === 6, 'early and later bytes in order')
  t.same([...Buffer.concat(got)], [0x81, 0x80, 1, 2, 3, 4])
  tunnels.cutMember(3, 1)
  tunnel.destroy()
  tunnels.cutMember(3, 1)
  t.same(counts(), [0, 0, 0])
  await close()
})

t.test('a tunnel whose backend agrees only after the others were told is told as it opens', async t => {
  const { browser, member, tunnel, tunnels, board, clock, close } = await setup()
  member.enter(false)
  tunnels.closeMember(3, 1, 1012, 'moving', 0)
  board.admit(3, 1, 'none')
  const got: Buffer[] = []
  browser.on('data', chunk => got.push(chunk))
  tunnel.open('HTTP/1.1 101 Go\r\n\r\n', [])
  const close1012 = `\x88\x08${String.fromCharCode(1012 >> 8, 1012 & 255)}moving`
  await until(
    () => Buffer.concat(got).toString('latin1') === `HTTP/1.1 101 Go\r\n\r\n${close1012}`,
    'the head and the Close',
  )
  await clock.advance(3_000)
  t.equal(tunnels.size, 0, 'and ends within the time of a close handshake')
  await close()
})

t.test('a member that takes clients again has tunnels that stay', async t => {
  for (const reopen of ['kept', 'admitted'] as const) {
    const { member, tunnel, tunnels, board, clock, close } = await setup()
    member.enter(false)
    board.admit(3, 1, 'none')
    tunnels.closeMember(3, 1, 1001, 'moving', 0)
    if (reopen === 'kept') tunnels.keepMember(3, 1)
    else board.admit(3, 1, 'any')
    tunnel.open('HTTP/1.1 101 Go\r\n\r\n', [])
    await clock.advance(3_000)
    t.equal(tunnels.size, 1, reopen)
    await close()
  }
})

t.test('a tunnel that never opened leaves the client alone', async t => {
  const { client, tunnel, counts, close } = await setup()
  tunnel.destroySoon()
  t.notOk(client.destroyed)
  t.same(counts(), [0, 0, 0])
  await close()
})

t.test('back-pressure towards the client and from it', async t => {
  const { browser, client, member, tunnel, close } = await setup()
  member.enter(false)
  tunnel.open('', [])
  browser.pause()
  let accepted = 0
  const chunk = Buffer.alloc(65_536)
  // One endless frame is enough: 2^40 bytes.
  tunnel.write(Buffer.from([0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0]))
  while (tunnel.write(chunk)) accepted++
  await until(() => client.writableLength > 0 || tunnel.writableLength > 0, 'bytes to wait')
  const more = () => {
    while (accepted < 2_000 && tunnel.write(chunk)) accepted++
    if (accepted < 2_000) tunnel.once('drain', more)
  }
  more()
  let last = -1
  await until(() => {
    const still = last === accepted
    last = accepted
    return still
  }, 'a stand-still')
  t.ok(accepted < 2_000, `${accepted} chunks were taken`)
  tunnel.destroy()
  await close()
})

t.test(
  'what a waiting client sends is kept within a bound; when it leaves, its socket is destroyed',
  async t => {
    const { browser, client, close } = await setup()
    const waiting = new WaitingClient(client, Buffer.from('head'), 8)
    browser.write('more')
    await until(() => client.isPaused(), 'reading to stop at the bound')
    t.equal(Buffer.concat([...waiting.release()]).toString(), 'headmore')
    const again = new WaitingClient(client, Buffer.alloc(0), 1_000)
    browser.end()
    await until(() => client.destroyed, 'the client to be given up')
    t.same(again.release(), [])
    await close()
  },
)

t.test(
  'when both have said Close of themselves, nobody is waited for until the tunnel falls silent',
  async t => {
    const { browser, member, tunnel, tunnels, clock, close } = await setup()
    member.enter(false)
    tunnel.open('HTTP/1.1 101 Go\r\n\r\n', [])
    tunnel.resume()
    browser.resume()
    tunnel.write(Buffer.from([0x88, 2, 3, 0xe8]))
    await clock.advance(10_000)
    t.equal(tunnels.size, 1, 'one Close is not yet a handshake')
    const before = tunnel.bytesIn
    browser.write(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 3, 0xe8]))
    await until(() => tunnel.bytesIn === before + 8, 'the answer to pass')
    await clock.advance(3_000)
    t.equal(tunnels.size, 0, 'both keep their connection open, and it is ended')
    await close()
  },
)
