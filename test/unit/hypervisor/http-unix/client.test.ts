/** The client against servers that say, on a real unix socket, what a hypervisor would and what it never should. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../../../lib/clock.ts'
import { HttpUnixClient } from '../../../../lib/hypervisor/http-unix/client.ts'
import type { Silence } from '../../../../lib/hypervisor/no-answer.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

const options = { peer: 'the VMM', requestBytesMax: 1_000, answerBytesMax: 1_000 }
const limits = { timeoutMs: 10_000 }
const get = (client: HttpUnixClient) => client.call('GET', '/x', undefined, limits)

function directory(t: Test): string {
  const made = mkdtempSync(join(tmpdir(), 'http-unix-'))
  t.teardown(() => rmSync(made, { recursive: true, force: true }))
  return made
}

function listening(t: Test, path: string, onSocket: (socket: Socket) => void): Promise<Server> {
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => {})
    onSocket(socket)
  })
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return new Promise(resolve => server.listen(path, () => resolve(server)))
}

/** A server that hands each whole request to `answer`. */
async function served(t: Test, answer: (socket: Socket, asked: string) => void) {
  const path = join(directory(t), 'api.sock')
  await listening(t, path, socket => {
    let asked = ''
    socket.on('data', chunk => {
      asked += chunk
      const end = asked.indexOf('\r\n\r\n')
      const length = Number(/^content-length: (\d+)/im.exec(asked)?.[1] ?? 0)
      if (end >= 0 && Buffer.byteLength(asked.slice(end + 4)) >= length) answer(socket, asked)
    })
  })
  return new HttpUnixClient(path, options, systemClock)
}

const reply = (status: number, body: string) =>
  `HTTP/1.1 ${status} Whatever\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`

/** Asks and expects silence of a kind. */
async function silent(
  t: Test,
  asked: Promise<unknown>,
  silence: Silence,
  message: RegExp,
  sent = true,
): Promise<void> {
  const code = silence === 'still_working' ? 'step_timeout' : 'hypervisor_unreachable'
  await t.rejects(asked, { silence, sent, code, message, details: { silence, sent } })
}

t.test('what is sent: JSON with its length, or no body at all', async t => {
  const heard: string[] = []
  const client = await served(t, (socket, asked) => {
    heard.push(asked)
    socket.end(reply(204, ''))
  })
  await client.call('PUT', '/api/v1/vm.resize', { desired_vcpus: 2, name: 'é' }, limits)
  await client.call('PUT', '/api/v1/vm.boot', undefined, limits)
  await client.call('GET', '/api/v1/vm.info', undefined, limits)
  const [resize = '', boot = '', info = ''] = heard
  t.match(resize, /^PUT \/api\/v1\/vm.resize HTTP\/1.1\r\n/)
  t.match(resize, /content-type: application\/json\r\n/i)
  t.match(resize, /content-length: 31\r\n/i)
  t.equal(resize.split('\r\n\r\n')[1], '{"desired_vcpus":2,"name":"é"}')
  t.match(boot, /^PUT \/api\/v1\/vm.boot HTTP\/1.1\r\n/)
  t.equal(boot.split('\r\n\r\n')[1], '', 'no body, not an empty object')
  t.notMatch(boot, /content-type|transfer-encoding/i)
  t.notMatch(info, /content-length|content-type|transfer-encoding/i)
})

t.test('every status is an answer, with its body as JSON where it is JSON', async t => {
  const answers = [
    [200, '{"state": "Running"}', { state: 'Running' }],
    [204, '', undefined],
    [404, '', undefined],
    [500, 'plain words', undefined],
    [500, '["Error from API","The VM is not running"]', ['Error from API', 'The VM is not running']],
    [429, 'null', null],
  ] as const
  for (const [status, text, body] of answers) {
    const client = await served(t, socket => socket.end(reply(status, text)))
    t.same(await get(client), { status, text, body })
  }
})

t.test('an answer in pieces, chunked or ended by the close, is whole', async t => {
  const heads = [
    'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"a":"é"}',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n6\r\n:"é"}\r\n0\r\n\r\n',
    'HTTP/1.0 200 OK\r\n\r\n{"a":"é"}',
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"a":"é"}',
  ]
  for (const head of heads) {
    const client = await served(t, socket => {
      for (const byte of Buffer.from(head)) socket.write(Buffer.of(byte))
      socket.end()
    })
    t.same((await get(client)).body, { a: 'é' }, JSON.stringify(head))
  }
})

t.test('gone: no socket, no directory, or nobody who listens', async t => {
  const home = directory(t)
  const path = join(home, 'api.sock')
  await silent(t, get(new HttpUnixClient(path, options, systemClock)), 'gone', /nobody listens/, false)
  const nowhere = new HttpUnixClient(join(home, 'no', 'api.sock'), options, systemClock)
  await silent(t, get(nowhere), 'gone', /nobody listens/, false)
  await abandonedSocket(path)
  await silent(t, get(new HttpUnixClient(path, options, systemClock)), 'gone', /ECONNREFUSED/, false)
})

/** What a killed process leaves: the name of a socket that nobody listens on. */
async function abandonedSocket(path: string): Promise<void> {
  const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 9))`
  try {
    execFileSync(process.execPath, ['-e', script])
  } catch {
    // Killed, as it should be.
  }
}

t.test('still working: the socket takes the call and the deadline passes', async t => {
  const clock = new ManualClock()
  const heard = Promise.withResolvers<Socket>()
  const { path } = await served(t, socket => heard.resolve(socket))
  const call = new HttpUnixClient(path, options, clock).call('PUT', '/slow', undefined, { timeoutMs: 300 })
  call.catch(() => {})
  const socket = await heard.promise
  const closed = new Promise(resolve => socket.once('close', resolve))
  await clock.advance(299)
  await clock.advance(1)
  await silent(t, call, 'still_working', /PUT \/slow within 300 ms and may still be at it/)
  await closed
  t.equal(clock.pending, 0, 'no timer is left')
})

t.test('still working: a body that drips past the deadline', async t => {
  const clock = new ManualClock()
  const heard = Promise.withResolvers<void>()
  const { path } = await served(t, socket => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a":')
    heard.resolve()
  })
  const call = new HttpUnixClient(path, options, clock).call('GET', '/drip', undefined, { timeoutMs: 300 })
  call.catch(() => {})
  await heard.promise
  await clock.advance(300)
  await silent(t, call, 'still_working', /within 300 ms/)
})

t.test('cannot tell: half an answer, none, garbage, wrong lengths, too much, not JSON', async t => {
  const big = 'x'.repeat(1_001)
  const faults: Record<string, [string, RegExp]> = {
    'closed at once': ['', /socket hang up|closed/],
    'half a head': ['HTTP/1.1 200 OK\r\nContent-', /socket hang up|closed|Parse Error/],
    'half a body': ['HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"a":1}', /aborted/],
    'half a chunk': ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"a"', /aborted/],
    garbage: ['\0\u0001 hello\r\n\r\n', /Parse Error/],
    'another protocol': [
      'HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
      /another protocol/,
    ],
    'two lengths': ['HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ', /Parse Error/],
    'a negative length': ['HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}', /Parse Error/],
    'a body too large': [reply(200, `"${big}"`), /larger than 1000 bytes/],
    'a head too large': [`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, /Parse Error|overflow/i],
    'words for JSON': [reply(200, 'OK then'), /not JSON: OK then/],
    'JSON and more': [reply(200, '{}{}'), /not JSON/],
  }
  for (const [name, [bytes, message]] of Object.entries(faults)) {
    const client = await served(t, socket => socket.end(bytes, 'latin1'))
    await t.test(name, t => silent(t, get(client), 'cannot_tell', message))
  }
})

t.test('cannot tell: bytes that are no UTF-8', async t => {
  const client = await served(t, socket => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n')
    socket.end(Buffer.of(0x22, 0xff, 0x22))
  })
  await silent(t, get(client), 'cannot_tell', /encoded data/)
})

t.test('cannot tell: what is there is no socket, or a directory on the way is none', async t => {
  const home = directory(t)
  writeFileSync(join(home, 'file'), '')
  mkdirSync(join(home, 'directory'))
  const file = new HttpUnixClient(join(home, 'file', 'api.sock'), options, systemClock)
  await silent(t, get(file), 'cannot_tell', /ENOTDIR/, false)
})

t.test('an abort ends the call with its own reason, before, during and after the connection', async t => {
  const heard = Promise.withResolvers<Socket>()
  const client = await served(t, socket => heard.resolve(socket))
  const early = { ...limits, signal: AbortSignal.abort(new Error('early')) }
  await t.rejects(client.call('GET', '/x', undefined, early), { message: 'early' })
  const stop = new AbortController()
  const call = client.call('GET', '/x', undefined, { ...limits, signal: stop.signal })
  call.catch(() => {})
  const socket = await heard.promise
  const closed = new Promise(resolve => socket.once('close', resolve))
  stop.abort(new Error('midway'))
  await t.rejects(call, { message: 'midway' })
  await closed
  const at = new AbortController()
  const connecting = client.call('GET', '/x', undefined, { ...limits, signal: at.signal })
  at.abort(new Error('at once'))
  await t.rejects(connecting, { message: 'at once' })
})

t.test('a request that is too large is refused before anything is sent', async t => {
  let connections = 0
  const path = join(directory(t), 'api.sock')
  await listening(t, path, () => connections++)
  const client = new HttpUnixClient(path, options, systemClock)
  const large = client.call('PUT', '/x', { large: 'x'.repeat(1_000) }, limits)
  await t.rejects(large, { code: 'hypervisor_failed', message: /no more than 1000 bytes/ })
  t.equal(connections, 0)
})

t.test('a path longer than a socket’s may be', async t => {
  const deep = join(directory(t), 'd'.repeat(200))
  mkdirSync(deep)
  const home = process.cwd()
  process.chdir(deep)
  await listening(t, './api.sock', socket => socket.once('data', () => socket.end(reply(200, '{}'))))
  process.chdir(home)
  const client = new HttpUnixClient(join(deep, 'api.sock'), options, systemClock)
  t.same((await get(client)).body, {})
})

t.test('an answer for each of many calls at once', async t => {
  const client = await served(t, (socket, asked) => {
    socket.end(reply(200, JSON.stringify(/^GET (\S+)/.exec(asked)![1])))
  })
  const targets = Array.from({ length: 50 }, (_, n) => `/${n}`)
  const answers = await Promise.all(targets.map(target => client.call('GET', target, undefined, limits)))
  t.same(
    answers.map(({ body }) => body),
    targets,
  )
})
