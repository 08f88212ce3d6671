/** Defects C and C2: an odd path kills the process (plain and upgrade), or reaches the backend as another path. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { openBare } from '../../../support/bare-http-proxy-3.ts'
import { closeServer, listenOn, openFrontDoor, rawClient } from '../../../support/traffic.ts'

const seen: string[] = []
const origin = createServer((request, response) => {
  seen.push(request.url!)
  response.end('ok')
})
const originPort = await listenOn(origin)
t.teardown(() => closeServer(origin))

const script = fileURLToPath(new URL('../../../support/bare-http-proxy-3.ts', import.meta.url))
const upgrade =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n'

async function startBare(): Promise<{ child: ChildProcess; port: number; exited: Promise<unknown[]> }> {
  const child = spawn(process.execPath, [script, String(originPort)], { stdio: ['ignore', 'pipe', 'ignore'] })
  const exited = once(child, 'exit')
  const [port] = await once(child.stdout!, 'data')
  return { child, port: Number(String(port)), exited }
}

for (const target of ['http://[', 'http://a:99999999/']) {
  for (const kind of ['plain', 'upgrade']) {
    t.test(`C: GET ${target} (${kind})`, async t => {
      const bytes = `GET ${target} HTTP/1.1\r\nHost: x\r\n${kind === 'upgrade' ? upgrade : ''}\r\n`
      const bare = await startBare()
      const attacker = await rawClient(bare.port, bytes)
      const [code] = await bare.exited
      attacker.socket.destroy()
      t.not(code, 0, 'bare http-proxy-3 dies of it')

      const door = await openFrontDoor({ backends: [originPort] })
      const client = await rawClient(door.port, bytes)
      t.match(await client.waitClosed(), /^HTTP\/1\.1 400 /, 'Tidegate answers 400')
      const next = await fetch(door.url)
      t.equal(await next.text(), 'ok', 'and serves on')
      await door.close()
    })
  }
}

t.test('C2: a path with dot segments never reaches the backend as another path', async t => {
  const target = '/a/../b/%2e%2e/c'
  const bytes = `GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`
  const bare = await openBare(originPort)
  seen.length = 0
  await (await rawClient(bare.port, bytes)).waitClosed()
  t.same(seen, ['/c'], 'bare http-proxy-3 forwards what was not asked for')
  await bare.close()

  const door = await openFrontDoor({ backends: [originPort] })
  seen.length = 0
  for (const path of [target, '/..', '/a/.', '/%2E%2e/x', '/a/..;x/b', '/a\\..\\b', '/.%2e/']) {
    const client = await rawClient(door.port, `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
    t.match(await client.waitClosed(), /^HTTP\/1\.1 400 /, path)
  }
  t.same(seen, [], 'Tidegate refuses them')
  await door.close()
})

t.test('every other path arrives byte for byte', async t => {
  const door = await openFrontDoor({ backends: [originPort] })
  const targets = [
    '/',
    '/?',
    '//double//slash',
    '/a?b=c?d',
    '/%41%2f%00',
    '/a;b',
    '/...',
    '/.well-known/x',
    '/a..b',
    '/x?/../y',
    '/?a=//b',
    '/"quoted"|{x}',
  ]
  for (const target of targets) {
    seen.length = 0
    const client = await rawClient(
      door.port,
      `GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
    )
    t.match(await client.waitClosed(), /^HTTP\/1\.1 200 /, target)
    t.same(seen, [target])
  }
  await door.close()
})

t.test(
  'absolute-form is routed by its authority and forwarded in origin-form; asterisk only for OPTIONS',
  async t => {
    const door = await openFrontDoor({
      backends: [originPort],
      routes: [{ host: 'inside.example', path: '/' }],
    })
    const ask = async (line: string) => {
      seen.length = 0
      return (
        await rawClient(door.port, `${line} HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n`)
      ).waitClosed()
    }
    t.match(await ask('GET http://INSIDE.example:80?q'), /^HTTP\/1\.1 200 /)
    t.same(seen, ['/?q'])
    t.match(await ask('GET http://elsewhere.example/'), /^HTTP\/1\.1 404 /)
    t.match(await ask('GET http://user@inside.example/'), /^HTTP\/1\.1 400 /)
    t.match(await ask('GET *'), /^HTTP\/1\.1 400 /)
    t.match(await ask('GET ftp://inside.example/'), /^HTTP\/1\.1 400 /)
    await door.close()
    const any = await openFrontDoor({ backends: [originPort] })
    seen.length = 0
    await (
      await rawClient(any.port, 'OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
    ).waitClosed()
    t.same(seen, ['*'])
    await any.close()
  },
)
