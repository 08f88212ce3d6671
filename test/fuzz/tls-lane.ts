/** TLS records that arrive changed, cut or not at all, from a client and from a backend: a request fails, and the next one is served. */
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer as createHttps } from 'node:https'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { TlsHolder } from '../../lib/proxy/tls/holder.ts'
import { Authority, listenerTls, materialOf, text, upstreamTls } from '../support/certificates.ts'
import { closeServer, inFlight, listenOn, openFrontDoor, until } from '../support/traffic.ts'
import { mangled } from './mangle.ts'
import type { Random } from './random.ts'
import type { Lane } from './run.ts'

const givesUpMs = 200
/** A machine that is busy with other tests is not what is tested. */
const patienceMs = 60_000

/** Passes bytes on, one way and the other, and spoils one piece of them when it is told to. */
class Spoiler {
  readonly server
  /** Bytes that pass before something happens to one piece; infinite: nothing does. */
  spoilAfter = Number.POSITIVE_INFINITY
  readonly #random: Random

  constructor(random: Random, port: () => number) {
    this.#random = random
    this.server = createServer(near => {
      const far = connect(port(), '127.0.0.1')
      this.#pass(near, far)
      this.#pass(far, near)
    })
  }

  #pass(from: Socket, to: Socket): void {
    from.on('error', () => {})
    from.on('data', bytes => {
      this.spoilAfter -= bytes.length
      const spoilt = this.spoilAfter < 0
      if (spoilt) this.spoilAfter = Number.POSITIVE_INFINITY
      to.write(spoilt ? mangled(this.#random, bytes) : bytes)
      if (spoilt && this.#random.chance(0.5)) to.end()
    })
    from.on('close', () => to.destroy())
  }
}

/** One certificate for all lanes: openssl is slow. */
let made: { ca: Authority; directory: string } | null = null

export async function tlsLane(random: Random): Promise<Lane> {
  made ??= authority()
  const { ca } = made
  const pair = ca.issue(`both-${random.below(2 ** 31)}`)
  const backend = createHttps({ cert: text(pair.cert), key: text(pair.key) }, (_request, response) =>
    response.end('x'.repeat(2_000)),
  )
  backend.on('error', () => {})
  backend.on('clientError', (_error, socket) => socket.destroy())
  backend.listen(0, '127.0.0.1')
  await until(() => backend.listening, 'the backend')
  const behind = new Spoiler(random, () => (backend.address() as AddressInfo).port)
  const front = listenerTls([pair], { handshakeTimeoutMs: patienceMs })
  const upstream = upstreamTls({ ca: ca.cert })
  const door = await openFrontDoor({
    backends: [await listenOn(behind.server)],
    listener: { tls: front },
    upstreamTls: upstream,
    tls: new TlsHolder(materialOf([front], [upstream])),
    timeouts: { connectMs: patienceMs, headerMs: patienceMs, idleMs: patienceMs },
  })
  const before = new Spoiler(random, () => door.port)
  const port = await listenOn(before.server)
  const ask = (limitMs: number): Promise<string> =>
    new Promise(resolve => {
      const socket = connectTls({ host: '127.0.0.1', port, ca: ca.pem, ALPNProtocols: ['http/1.1'] })
      let got = ''
      socket.on('data', chunk => {
        got += chunk.toString('latin1')
      })
      socket.on('error', () => {})
      socket.on('close', () => resolve(got))
      socket.setTimeout(limitMs, () => socket.destroy())
      socket.write('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
    })
  return {
    step: async random => {
      const side = random.pick([before, behind])
      side.spoilAfter = random.below(6_000)
      // Where nobody can go on, the client gives up.
      await ask(givesUpMs)
      side.spoilAfter = Number.POSITIVE_INFINITY
      await until(() => door.context.exchanges.size === 0, 'nothing to be under way')
      const wrong: string[] = []
      if (inFlight(door) !== 0) wrong.push(`${inFlight(door)} in flight afterwards`)
      const good = await ask(patienceMs)
      if (!/^HTTP\/1\.1 200 [\s\S]*x{2000}$/.test(good))
        wrong.push(`not served afterwards: ${good.slice(0, 80)}`)
      return wrong.map(what => ({ what, text: side === before ? 'client' : 'backend' }))
    },
    close: async () => {
      await door.close()
      backend.closeAllConnections()
      await Promise.all([closeServer(before.server), closeServer(behind.server), closeServer(backend)])
    },
  }
}

function authority() {
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-fuzz-'))
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
  return { ca: new Authority(directory), directory }
}
