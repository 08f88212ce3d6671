/**
 * One client connection after another: requests with an id each, some at once, some that are given up, WebSockets now and then. Every answer
 * is read strictly and must be that of its request.
 */
import { connect, type Socket } from 'node:net'
import { readAnswers, type SeenAnswer } from '../../../fuzz/answers-reader.ts'
import type { Random } from '../../../fuzz/random.ts'
import { bodyOf } from './backends.ts'

/** What all clients together have seen. */
export interface Tally {
  /** Sent whole. */
  requests: number
  /** By status. */
  readonly answers: Record<string, number>
  aborted: number
  /** Answers that broke off because their backend died. */
  broken: number
  tunnels: number
  readonly wrong: string[]
}

interface Asked {
  readonly id: string
  readonly method: string
  readonly letters: number
  readonly text: string
}

/** Ours, for what a dead backend does; nothing else may come. */
const ourStatuses = [502, 503, 504]
const stuckMs = 60_000

export class SoakClient {
  readonly #port: number
  readonly #random: Random
  readonly #tally: Tally
  readonly #name: string
  #count = 0

  constructor(port: number, random: Random, tally: Tally, name: string) {
    this.#port = port
    this.#random = random
    this.#tally = tally
    this.#name = name
  }

  /** Goes on while `more` says so. */
  async run(more: () => boolean): Promise<void> {
    while (more()) {
      if (this.#random.chance(0.1)) await this.#tunnel()
      else await this.#connection(more)
    }
  }

  async #connection(more: () => boolean): Promise<void> {
    const random = this.#random
    const connection = new Connection(this.#port)
    for (let left = 1 + random.below(40); left > 0 && more() && connection.usable; left--) {
      const batch = Array.from({ length: random.pick([1, 1, 1, 1, 1, 2, 3]) }, () => this.#request())
      if (random.chance(0.03)) {
        await this.#abort(connection, batch[0]!)
        return
      }
      connection.send(batch.map(({ text }) => text).join(''))
      this.#tally.requests += batch.length
      for (const asked of batch) {
        const answer = await connection.answer(asked.method)
        if (!this.#right(asked, answer, connection) || !connection.usable) break
      }
      if (random.chance(0.02)) break
    }
    connection.end()
  }

  #request(): Asked {
    const random = this.#random
    const id = `${this.#name}-${this.#count++}`
    const method = random.pick(['GET', 'GET', 'GET', 'GET', 'POST', 'POST', 'PUT', 'DELETE', 'HEAD'])
    const letters = random.chance(0.02) ? 150_000 : random.below(600)
    const how = random.some(['length', 'hints', 'later', 'early', 'close'], 0.2).join('-')
    const head = `${method} /?id=${id}&letters=${letters}&how=${how} HTTP/1.1\r\nHost: soak\r\nX-Id: ${id}\r\n`
    return { id, method, letters, text: head + this.#framedBody(method) }
  }

  #framedBody(method: string): string {
    const random = this.#random
    if (method === 'GET' || method === 'HEAD') return '\r\n'
    const body = 'y'.repeat(random.chance(0.03) ? 80_000 : random.below(500))
    if (random.chance(0.5)) return `Content-Length: ${body.length}\r\n\r\n${body}`
    const half = body.length >> 1
    const chunks = [body.slice(0, half), body.slice(half)].filter(piece => piece !== '')
    const coded = chunks.map(piece => `${piece.length.toString(16)}\r\n${piece}\r\n`).join('')
    return `Transfer-Encoding: chunked\r\n\r\n${coded}0\r\n\r\n`
  }

  /** Leaves at some point: in the middle of what it sends, right behind it, or at the first byte of the answer. */
  async #abort(connection: Connection, { text }: Asked): Promise<void> {
    this.#tally.aborted++
    const when = this.#random.below(3)
    connection.send(when === 0 ? text.slice(0, this.#random.below(text.length)) : text)
    if (when === 2) await connection.something()
    connection.leave(this.#random.chance(0.5))
  }

  /** False: nothing more is to be expected on this connection. */
  #right(asked: Asked, answer: SeenAnswer | null, connection: Connection): boolean {
    const { answers, wrong } = this.#tally
    if (answer === null) {
      if (connection.fault !== null) wrong.push(`${asked.id}: ${connection.fault}`)
      else if (connection.begun) this.#tally.broken++
      else wrong.push(`${asked.id}: no answer at all`)
      return false
    }
    answers[answer.status] = (answers[answer.status] ?? 0) + 1
    if (ourStatuses.includes(answer.status)) return true
    const id = answer.fields.find(([name]) => name === 'x-id')?.[1]
    const body = asked.method === 'HEAD' ? '' : bodyOf(asked.id, asked.letters)
    if (answer.status === 200 && id === asked.id && answer.body === body) return true
    wrong.push(`${asked.id} was answered ${answer.status} for ${id}, ${answer.body.slice(0, 60)}`)
    return false
  }

  /** A WebSocket that says something a few times and hears the same, and closes in one of the possible ways. */
  async #tunnel(): Promise<void> {
    const random = this.#random
    const connection = new Connection(this.#port)
    connection.send(
      'GET /ws HTTP/1.1\r\nHost: soak\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
    )
    if (await connection.switched()) {
      this.#tally.tunnels++
      let said = ''
      for (let turns = random.below(5); turns > 0; turns--) {
        const word = `${this.#name}-${this.#count++}`
        // A text frame as clients send them, masked with zeros.
        const frame = `\x81${String.fromCharCode(0x80 | word.length)}\0\0\0\0${word}`
        said += frame
        connection.send(frame)
        if (!(await connection.heard(said))) {
          if (!connection.closed) this.#tally.wrong.push(`a tunnel heard ${JSON.stringify(connection.text)}`)
          break
        }
      }
    }
    if (random.chance(0.5)) connection.leave(random.chance(0.5))
    else connection.end()
  }
}

class Connection {
  fault: string | null = null
  closed = false
  text = ''
  readonly #socket: Socket
  #ended = false
  #last = false
  #wake = () => {}

  constructor(port: number) {
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.#socket.setTimeout(stuckMs, () => {
      this.fault = `nothing for ${stuckMs / 1000} s`
      this.#socket.destroy()
    })
    this.#socket.on('data', bytes => {
      this.text += bytes.toString('latin1')
      this.#wake()
    })
    this.#socket.on('end', () => {
      this.#ended = true
    })
    this.#socket.on('error', () => {})
    this.#socket.on('close', () => {
      this.closed = true
      this.#wake()
    })
  }

  get usable(): boolean {
    return !this.closed && !this.#last && this.fault === null
  }

  /** An answer has begun that is not whole. */
  get begun(): boolean {
    return this.text !== ''
  }

  send(text: string): void {
    this.#socket.write(text, 'latin1')
  }

  /** The next answer; null: there is none. */
  async answer(method: string): Promise<SeenAnswer | null> {
    let found: SeenAnswer | null = null
    await this.#until(() => {
      // A large body comes in many pieces: it is not read again for each.
      if (!this.closed && this.text.length > 50_000 && this.text.length < 150_000) return false
      const { answers, fault, rest } = readAnswers(this.text, [method], this.#ended, 1)
      this.fault = fault
      if (answers.length > 0) {
        found = answers[0]!
        this.text = rest
        this.#last = found.last
      }
      return found !== null || fault !== null
    })
    return found
  }

  /** A byte, or the end. */
  something(): Promise<void> {
    return this.#until(() => this.text !== '')
  }

  async switched(): Promise<boolean> {
    await this.#until(() => this.text.includes('\r\n\r\n'))
    const yes = this.text.startsWith('HTTP/1.1 101 ')
    if (yes) this.text = this.text.slice(this.text.indexOf('\r\n\r\n') + 4)
    return yes
  }

  async heard(what: string): Promise<boolean> {
    await this.#until(() => this.text.length >= what.length)
    return this.text === what
  }

  end(): void {
    this.#socket.end()
    this.#socket.resume()
  }

  leave(rudely: boolean): void {
    if (rudely) this.#socket.resetAndDestroy()
    else this.#socket.destroy()
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition() && !this.closed) {
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
  }
}
