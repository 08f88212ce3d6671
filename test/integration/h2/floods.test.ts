/** What a client may do to an HTTP/2 connection before it is sent away, and how connections end in good order. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { connect, constants } from 'node:http2'
import t, { type Test } from 'tap'
import {
  concurrentStreamsMax,
  pingsBurst,
  resetsBurst,
  resetsPerSecond,
  settingsBurst,
} from '../../../lib/proxy/h2/connection.ts'
import { clientKeepAliveMs, clientReadIdleMs } from '../../../lib/proxy/limits.ts'
import {
  endHeaders,
  endStream,
  frame,
  frameTypes,
  getHeaders,
  postHeaders,
  rawH2Client,
} from '../../support/h2-frames.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import {
  closeServer,
  inFlight,
  listenOn,
  openFrontDoor,
  openRawBackend,
  until,
} from '../../support/traffic.ts'

const { NGHTTP2_ENHANCE_YOUR_CALM: calm, NGHTTP2_CANCEL: cancel } = constants

async function door(t: Test, clock?: ManualClock) {
  const backend = await openRawBackend((socket, text) => {
    if (text.includes('/break')) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf')
    else if (text.includes('/fine')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
  })
  const front = await openFrontDoor({
    backends: [backend.port],
    listener: { protocol: 'h2c' },
    ...(clock ? { clock } : {}),
  })
  t.teardown(async () => {
    await front.close()
    await backend.close()
  })
  return { front, backend }
}

/** A connection of its own is served as ever. */
async function stillServes(t: Test, port: number): Promise<void> {
  const client = connect(`http://127.0.0.1:${port}`)
  const stream = client.request({ ':path': '/fine' })
  const [head] = await once(stream, 'response')
  t.equal(head[':status'], 200)
  client.destroy()
}

const cancelled = Buffer.from([0, 0, 0, cancel])
/** Begun and broken off in one breath: CVE-2023-44487. */
const reset = (stream: number) => [
  frame(frameTypes.headers, endStream | endHeaders, stream, getHeaders),
  frame(frameTypes.rstStream, 0, stream, cancelled),
]

t.test('streams broken off by the client', async t => {
  const { front } = await door(t, new ManualClock())
  const patient = await rawH2Client(front.port)
  for (let i = 0; i < resetsBurst; i++) patient.send(...reset(1 + 2 * i))
  const last = 1 + 2 * resetsBurst
  patient.send(frame(frameTypes.ping, 0, 0, Buffer.alloc(8)))
  await until(
    () => patient.frames.some(({ type, flags }) => type === frameTypes.ping && flags === 1),
    'a ping back',
  )
  t.notOk(patient.closed, `${resetsBurst} at once are forgiven`)
  patient.send(...reset(last))
  t.equal(await patient.waitSentAway(), calm)
  t.equal(inFlight(front), 0)
  await stillServes(t, front.port)
})

t.test('a slow trickle of them is forgiven, and so is what backends break', async t => {
  const clock = new ManualClock()
  const { front, backend } = await door(t, clock)
  const client = await rawH2Client(front.port)
  for (let second = 0; second < 5; second++) {
    for (let i = 0; i < resetsPerSecond; i++) client.send(...reset(1 + 2 * (second * resetsPerSecond + i)))
    await clock.advance(1_000)
  }
  const well = connect(front.url)
  well.on('error', () => {})
  for (let i = 0; i < resetsBurst + 5; i++) {
    const broken = well.request({ ':path': '/break' })
    broken.on('error', () => {})
    broken.resume()
    await new Promise(resolve => broken.once('close', resolve))
  }
  t.notOk(well.destroyed || client.closed)
  well.destroy()
  client.socket.destroy()
  t.ok(backend.connections() > resetsBurst)
})

const floods: Record<
  string,
  { readonly count: number; frames(i: number): Buffer[]; readonly code: number | null }
> = {
  pings: {
    count: pingsBurst + 10,
    frames: () => [frame(frameTypes.ping, 0, 0, Buffer.alloc(8))],
    code: calm,
  },
  settings: {
    count: settingsBurst + 10,
    frames: () => [frame(frameTypes.settings, 0, 0)],
    code: calm,
  },
  'streams that we have to reset (MadeYouReset)': {
    count: resetsBurst + 10,
    frames: i => [
      frame(frameTypes.headers, endHeaders, 1 + 2 * i, postHeaders),
      frame(frameTypes.windowUpdate, 0, 1 + 2 * i, Buffer.alloc(4)),
    ],
    code: constants.NGHTTP2_PROTOCOL_ERROR,
  },
  'empty frames of a body': {
    count: 200,
    frames: i =>
      i === 0 ? [frame(frameTypes.headers, endHeaders, 1, postHeaders)] : [frame(frameTypes.data, 0, 1)],
    code: constants.NGHTTP2_INTERNAL_ERROR,
  },
  'continuations without end': {
    count: 50,
    frames: i => [
      frame(
        i === 0 ? frameTypes.headers : frameTypes.continuation,
        0,
        1,
        i === 0 ? getHeaders : Buffer.alloc(0),
      ),
    ],
    code: null,
  },
}
for (const [what, { count, frames, code }] of Object.entries(floods)) {
  t.test(`a flood of ${what}`, async t => {
    const { front } = await door(t, new ManualClock())
    const client = await rawH2Client(front.port)
    for (let i = 0; i < count && !client.closed; i++) client.send(...frames(i))
    const told = await client.waitSentAway()
    if (code !== null) t.equal(told, code)
    await until(() => inFlight(front) === 0, 'nothing to be left of it')
    await stillServes(t, front.port)
  })
}

t.test(
  'more streams at a time than we allow are refused; who knows the limit and goes beyond it is sent away',
  async t => {
    const { front } = await door(t)
    const client = await rawH2Client(front.port)
    for (let i = 0; i <= concurrentStreamsMax; i++)
      client.send(frame(frameTypes.headers, endStream | endHeaders, 1 + 2 * i, getHeaders))
    await until(() => client.frames.some(({ type }) => type === frameTypes.rstStream), 'a refusal')
    t.equal(inFlight(front), concurrentStreamsMax)
    const refused = client.frames.filter(({ type }) => type === frameTypes.rstStream)
    t.same(
      refused.map(({ stream, payload }) => [stream, payload.readUInt32BE()]),
      [[1 + 2 * concurrentStreamsMax, constants.NGHTTP2_REFUSED_STREAM]],
    )
    client.send(frame(frameTypes.settings, 1, 0))
    client.send(frame(frameTypes.headers, endStream | endHeaders, 3 + 2 * concurrentStreamsMax, getHeaders))
    t.equal(await client.waitSentAway(), constants.NGHTTP2_PROTOCOL_ERROR)
    await until(() => inFlight(front) === 0, 'the rest to end')
  },
)

t.test('a connection without a request is sent away after a while; who reads no answer, too', async t => {
  const clock = new ManualClock()
  const { front } = await door(t, clock)
  const idle = await rawH2Client(front.port)
  const unread = await rawH2Client(front.port)
  unread.send(frame(frameTypes.settings, 0, 0, Buffer.from([0, 4, 0, 0, 0, 0])))
  unread.send(frame(frameTypes.headers, endStream | endHeaders, 1, getHeaders))
  await until(() => inFlight(front) === 1, 'a request')
  await clock.advance(clientKeepAliveMs - 1_000)
  t.notOk(idle.closed)
  await clock.advance(2_000)
  t.equal(await idle.waitSentAway(), constants.NGHTTP2_NO_ERROR)
  t.notOk(unread.closed)
  front.context.exchanges.cutMember(0, 1)
  await until(() => unread.frames.some(({ type }) => type === frameTypes.headers), 'an answer of ours')
  t.notOk(
    unread.frames.some(({ type }) => type === frameTypes.data),
    'of which the body cannot be sent',
  )
  await clock.advance(clientReadIdleMs + 300)
  await until(
    () => unread.frames.some(({ type }) => type === frameTypes.rstStream),
    'the end of our patience',
  )
  unread.socket.destroy()
})

t.test(
  'a listener that stops says GOAWAY: what is under way ends well, nothing new begins, the connection closes',
  async t => {
    const waiting: (() => void)[] = []
    const server = createServer((request, response) => waiting.push(() => response.end(request.url)))
    const port = await listenOn(server)
    const front = await openFrontDoor({ backends: [port], listener: { protocol: 'h2c' } })
    const client = connect(front.url)
    const slow = client.request({ ':path': '/slow' })
    slow.setEncoding('utf8')
    await until(() => waiting.length === 1, 'the request')
    const idle = connect(front.url)
    await once(idle, 'remoteSettings')
    const goneAway = once(client, 'goaway')
    const idleClosed = once(idle, 'close')
    front.listener.stop()
    const [code] = await goneAway
    t.equal(code, constants.NGHTTP2_NO_ERROR)
    await idleClosed
    t.ok(client.closed && !client.destroyed, 'it takes nothing new and is still there')
    waiting[0]!()
    let body = ''
    for await (const chunk of slow) body += chunk
    t.equal(body, '/slow')
    await until(() => client.destroyed, 'the connection to close')
    await front.close()
    server.closeAllConnections()
    await closeServer(server)
  },
)
