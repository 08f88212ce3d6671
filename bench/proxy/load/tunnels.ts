/**
 * A script: WebSocket tunnels, each with one message under way all the time. A message carries its tunnel's number and its
 * turn; what comes back has to be the same.
 */
import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { inParallel, serveLoad } from './driver.ts'
import { acceptKey, FrameReader, frame } from './frames.ts'

export interface TunnelsOptions {
  readonly port: number
  readonly tunnels: number
  readonly payloadBytes: number
  readonly seconds: number
}

export interface TunnelsReport {
  readonly messages: number
  readonly seconds: number
  readonly errors: number
}

const openingAtOnce = 32
const openTimeoutMs = 10_000
const mask = Buffer.from([0x11, 0x22, 0x33, 0x44])

class Tunnel {
  echoed = 0
  errors = 0
  readonly #socket: Socket
  readonly #payload: Buffer
  readonly #reader = new FrameReader()
  #untilMs = 0
  #done: (() => void) | null = null

  constructor(socket: Socket, index: number, payloadBytes: number) {
    this.#socket = socket
    this.#payload = Buffer.alloc(payloadBytes, 0x2e)
    this.#payload.writeUInt32BE(index, 0)
    socket.on('data', chunk => this.#receive(chunk))
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      this.errors++
      this.#done?.()
    })
  }

  static open({ port, payloadBytes }: TunnelsOptions, index: number): Promise<Tunnel> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1')
      const key = randomBytes(16).toString('base64')
      let head = ''
      const receive = (chunk: Buffer) => {
        head += chunk.toString('latin1')
        if (!head.endsWith('\r\n\r\n')) return
        socket.setTimeout(0).off('data', receive).off('close', closed)
        const agreed = /^HTTP\/1\.1 101 /.test(head) && head.includes(acceptKey(key))
        if (agreed) resolve(new Tunnel(socket, index, payloadBytes))
        else reject(new Error(`the upgrade is answered: ${head.split('\r\n', 1)[0]}`))
      }
      const closed = () => reject(new Error('the upgrade is not answered'))
      socket.setNoDelay(true)
      socket.setTimeout(openTimeoutMs, () => socket.destroy())
      socket.on('error', reject).on('data', receive).on('close', closed)
      socket.write(
        `GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\n\r\n`,
      )
    })
  }

  /** One message after another until then; resolves when the last came back, or the tunnel broke. */
  talk(untilMs: number): Promise<void> {
    this.#untilMs = untilMs
    if (this.#socket.destroyed) return Promise.resolve()
    return new Promise(resolve => {
      this.#done = resolve
      this.#send()
    })
  }

  #send(): void {
    this.#payload.writeUInt32BE(this.echoed, 4)
    this.#socket.write(frame(this.#payload, mask))
  }

  #receive(chunk: Buffer): void {
    for (const payload of this.#reader.read(chunk)) {
      if (payload.equals(this.#payload)) this.echoed++
      else this.errors++
      if (performance.now() < this.#untilMs) this.#send()
      else this.#done?.()
    }
    if (this.#reader.closed) this.#socket.destroy()
  }
}

if (import.meta.main) {
  await serveLoad<TunnelsOptions>(async options => {
    const tunnels: Tunnel[] = []
    await inParallel(options.tunnels, openingAtOnce, async index => {
      tunnels.push(await Tunnel.open(options, index))
    })
    return async (): Promise<TunnelsReport> => {
      const begun = performance.now()
      await Promise.all(tunnels.map(tunnel => tunnel.talk(begun + options.seconds * 1_000)))
      const seconds = (performance.now() - begun) / 1_000
      const sum = (pick: (tunnel: Tunnel) => number) => tunnels.reduce((total, one) => total + pick(one), 0)
      return { messages: sum(({ echoed }) => echoed), seconds, errors: sum(({ errors }) => errors) }
    }
  })
}
