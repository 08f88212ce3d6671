/**
 * One client after another, each with a session: it counts its visits and keeps a word there, and knows what it must find again. It
 * stays with its instance as long as the session lives. On plain sockets, because it has to be cheap.
 */
import { connect, type Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import type { Random } from '../../fuzz/random.ts'

export interface Settings {
  readonly port: number
  /** Whom they ask for. */
  readonly host: string
  /** Of the affinity cookie. */
  readonly ttlMs: number
  readonly sessionMsMin: number
  readonly sessionMsMax: number
}

/** What all clients together have seen. */
export interface Tally {
  requests: number
  sessions: number
  /** A session that was silent for longer than its cookie lives has ended; that happens on a machine that stands still. */
  expired: number
  /** Requests that the application has seen twice. */
  repeated: number
  readonly failures: Failure[]
  readonly moves: Move[]
  readonly lost: Lost[]
}

interface Seen {
  /** Wall clock. */
  readonly atMs: number
  /** Whose session it is; empty: it has none yet. */
  readonly instance: string
}
export interface Failure extends Seen {
  readonly what: string
}
export interface Move extends Seen {
  readonly to: string
}
export interface Lost extends Seen {
  readonly what: string
}

const stuckMs = 200_000
/** What was missed before is not made up for. */
const lateMsMax = 2_000
/** More are not kept: by then it is clear that something is wrong. */
const keptMax = 2_000

export class SessionClients {
  /** From one request of a client to its next, on average; changes while they run. */
  pauseMs = 0
  readonly tally: Tally = {
    ...{ requests: 0, sessions: 0, expired: 0, repeated: 0 },
    ...{ failures: [], moves: [], lost: [] },
  }
  readonly #settings: Settings
  #stopped = false

  constructor(settings: Settings) {
    this.#settings = settings
  }

  stop(): void {
    this.#stopped = true
  }

  /** Session after session, to the end. */
  async run(random: Random): Promise<void> {
    let due = performance.now()
    while (!this.#stopped) {
      const { sessionMsMin, sessionMsMax } = this.#settings
      const ends = performance.now() + sessionMsMin + random.next() * (sessionMsMax - sessionMsMin)
      const session = new Session(this.#settings, this.tally)
      this.tally.sessions++
      while (!this.#stopped && performance.now() < ends) {
        await session.turn(random)
        // By the clock and not from answer to answer: slow answers do not make fewer requests.
        due = Math.max(due + this.pauseMs * (0.5 + random.next()), performance.now() - lateMsMax)
        const early = due - performance.now()
        if (early > 0) await pause(early)
      }
      session.close()
    }
  }
}

class Session {
  readonly #settings: Settings
  readonly #tally: Tally
  #connection: Connection | null = null
  #affinity = ''
  #sid = ''
  #issuedAtMs = 0
  #instance = ''
  /** 0: it is not known what is counted there. */
  #visits = 0
  /** A request failed: whether it was counted there nobody knows. */
  #doubtful = 0
  #word = ''

  constructor(settings: Settings, tally: Tally) {
    this.#settings = settings
    this.#tally = tally
  }

  close(): void {
    this.#connection?.close()
  }

  async turn(random: Random): Promise<void> {
    if (this.#affinity !== '' && performance.now() - this.#issuedAtMs > this.#settings.ttlMs) this.#forget()
    const ask = this.#sid === '' ? 0 : random.next()
    if (ask > 0.9) await this.#put(random)
    else if (ask > 0.8 && this.#word !== '') await this.#find()
    else await this.#visit()
  }

  async #visit(): Promise<void> {
    const answer = await this.#exchange('GET', '/')
    if (answer === null) {
      this.#doubtful++
      return
    }
    const { instance_id: instance, visits } = answer as { instance_id: string; visits: number }
    const stays = this.#stays(instance)
    const before = this.#visits
    if (stays && visits <= before) this.#lose(`visit ${visits} after ${before}`)
    if (stays && before > 0 && visits > before + 1 + this.#doubtful) this.#tally.repeated++
    this.#visits = visits
    this.#doubtful = 0
  }

  async #put(random: Random): Promise<void> {
    const word = `${this.#sid}-${random.below(1_000_000)}`
    const answer = await this.#exchange('POST', `/sessions/${this.#sid}`, word)
    this.#word = ''
    if (answer === null) return
    this.#stays((answer as { instance: string }).instance)
    this.#word = word
  }

  async #find(): Promise<void> {
    const answer = await this.#exchange('GET', `/sessions/${this.#sid}`, '', 404)
    if (answer === null) return
    const { value, instance } = answer as { value?: string; instance: string }
    if (!this.#stays(instance)) this.#word = ''
    else if (value !== this.#word) this.#lose(`${value ?? 'nothing'} instead of ${this.#word}`)
  }

  /** False: another instance than that of the session has answered. */
  #stays(instance: string): boolean {
    const before = this.#instance
    this.#instance = instance
    if (before === '' || before === instance) return true
    if (performance.now() - this.#issuedAtMs > this.#settings.ttlMs) this.#tally.expired++
    else if (this.#tally.moves.length < keptMax)
      this.#tally.moves.push({ atMs: Date.now(), instance: before, to: instance })
    this.#visits = 0
    this.#word = ''
    return false
  }

  #lose(what: string): void {
    if (this.#tally.lost.length < keptMax)
      this.#tally.lost.push({
        atMs: Date.now(),
        instance: this.#instance,
        what: `session ${this.#sid}: ${what}`,
      })
  }

  #forget(): void {
    this.#tally.expired++
    this.#affinity = ''
    this.#sid = ''
    this.#instance = ''
    this.#visits = 0
    this.#word = ''
  }

  /** The answer's body, or null: it failed, which is noted. */
  async #exchange(method: string, path: string, body = '', also = 200): Promise<unknown> {
    const cookie = [this.#affinity, this.#sid === '' ? '' : `sid=${this.#sid}`].filter(Boolean).join('; ')
    const head = `${method} ${path} HTTP/1.1\r\nHost: ${this.#settings.host}\r\n${cookie === '' ? '' : `Cookie: ${cookie}\r\n`}`
    const framed = method === 'POST' ? `Content-Length: ${body.length}\r\n\r\n${body}` : '\r\n'
    if (this.#connection?.usable !== true) this.#connection = new Connection(this.#settings.port)
    this.#tally.requests++
    const sentAtMs = performance.now()
    try {
      const answer = await this.#connection.ask(head + framed)
      for (const [, name, value] of answer.head.matchAll(/\r\nset-cookie: ([^=]+)=([^;\r]*)/gi)) {
        if (name === 'sid') this.#sid = value!
        else {
          this.#affinity = `${name}=${value}`
          // Its life began in between: the earliest is what can be relied on.
          this.#issuedAtMs = sentAtMs
        }
      }
      if (answer.status !== 200 && answer.status !== also)
        throw new Error(`${answer.status} ${answer.body.slice(0, 160)}`)
      return JSON.parse(answer.body)
    } catch (error) {
      this.#connection.close()
      const what = `${method} ${path}: ${(error as Error).message}`
      if (this.#tally.failures.length < keptMax)
        this.#tally.failures.push({ atMs: Date.now(), instance: this.#instance, what })
      return null
    }
  }
}

interface Answer {
  readonly status: number
  readonly head: string
  readonly body: string
}

/** One request at a time, and answers that say their length: the demo application has no others. */
class Connection {
  readonly #socket: Socket
  #text = ''
  #waiting: { readonly resolve: (answer: Answer) => void; readonly reject: (error: Error) => void } | null =
    null
  #fault: Error | null = null

  constructor(port: number) {
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.#socket.setEncoding('latin1')
    this.#socket.setTimeout(stuckMs, () => this.#end(new Error(`nothing for ${stuckMs / 1_000} s`)))
    this.#socket.on('data', (text: string) => this.#read(text))
    this.#socket.on('error', error => this.#end(error))
    this.#socket.on('close', () => this.#end(new Error('the connection was closed without an answer')))
  }

  get usable(): boolean {
    return this.#fault === null
  }

  ask(text: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
      this.#socket.write(text, 'latin1')
    })
  }

  close(): void {
    this.#end(new Error('left'))
  }

  #read(text: string): void {
    this.#text += text
    const end = this.#text.indexOf('\r\n\r\n')
    if (end < 0) return
    const length = /\r\ncontent-length: *(\d+)/i.exec(this.#text)?.[1]
    if (length === undefined) return this.#end(new Error(`no length: ${this.#text.slice(0, 80)}`))
    const whole = end + 4 + Number(length)
    if (this.#text.length < whole) return
    const head = this.#text.slice(0, end)
    const body = this.#text.slice(end + 4, whole)
    const over = this.#text.slice(whole)
    this.#text = ''
    const waiting = this.#waiting
    this.#waiting = null
    if (over !== '' || waiting === null)
      return this.#end(new Error(`more than was asked for: ${over.slice(0, 80)}`))
    if (/\r\nconnection: *close/i.test(head)) this.#end(new Error('said to be the last'))
    waiting.resolve({ status: Number(head.slice(9, 12)), head, body })
  }

  #end(error: Error): void {
    if (this.#fault !== null) return
    this.#fault = error
    this.#socket.destroy()
    this.#waiting?.reject(error)
    this.#waiting = null
  }
}

/** Pacing of a client, not synchronisation. */
const pause = (ms: number) => new Promise<void>(resolve => setTimeout(resolve, ms))
