/** Backends that answer with the id of what they were asked, die at random, with everything that is on them, and come back. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Random } from '../../../fuzz/random.ts'

/** What an answer's body must be: the id, and so many letters behind it. */
export const bodyOf = (id: string, letters: number) => `${id} ${'x'.repeat(letters)}`

export class DyingBackend {
  port = 0
  deaths = 0
  readonly #random: Random
  readonly #sockets = new Set<Socket>()
  #server: Server | null = null
  #timer: NodeJS.Timeout | null = null

  constructor(random: Random) {
    this.#random = random
  }

  async start(): Promise<void> {
    await this.#listen()
    this.#live()
  }

  /** For good, quietly. */
  async stop(): Promise<void> {
    if (this.#timer) clearTimeout(this.#timer)
    const server = this.#server
    this.#server = null
    for (const socket of this.#sockets) socket.destroy()
    if (server) await new Promise(resolve => server.close(resolve))
  }

  #live(): void {
    this.#timer = setTimeout(() => this.#die(), 300 + this.#random.below(3_000))
  }

  #die(): void {
    this.deaths++
    this.#server?.close()
    this.#server = null
    for (const socket of this.#sockets) {
      if (this.#random.chance(0.5)) socket.resetAndDestroy()
      else socket.destroy()
    }
    this.#timer = setTimeout(async () => {
      await this.#listen()
      this.#live()
    }, 50 + this.#random.below(500))
  }

  #listen(): Promise<void> {
    const server = createServer((request, response) => this.#answer(request, response))
    // Now and then it ends kept connections just as they are used again.
    server.keepAliveTimeout = 200 + this.#random.below(2_000)
    server.on('connection', socket => {
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => this.#sockets.delete(socket))
    })
    server.on('upgrade', (_request, socket) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n')
      socket.on('error', () => {})
      socket.pipe(socket)
    })
    this.#server = server
    return new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.port, '127.0.0.1', () => {
        this.port = (server.address() as AddressInfo).port
        resolve()
      })
    })
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    request.on('error', () => {})
    response.on('error', () => {})
    const {
      id = '',
      letters = '0',
      how = '',
    } = Object.fromEntries(new URL(request.url!, 'http://x').searchParams)
    const body = bodyOf(id, Number(letters))
    response.setHeader('X-Id', id)
    const answer = () => {
      if (how.includes('length')) response.setHeader('Content-Length', body.length)
      if (how.includes('close')) response.setHeader('Connection', 'close')
      if (how.includes('hints')) response.writeEarlyHints({ link: '</x>; rel=preload' })
      const half = body.length >> 1
      response.write(body.slice(0, half))
      setImmediate(() => response.end(body.slice(half)))
    }
    request.resume()
    if (how.includes('early')) answer()
    else request.on('end', () => (how.includes('later') ? setTimeout(answer, 5) : answer()))
  }
}
