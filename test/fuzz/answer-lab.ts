/**
 * One backend answer at a time through a real front door, and a probe behind it on the same client connection: the client sees one
 * well-formed answer or a broken connection, never a second answer, and the probe gets its own.
 */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { closeServer, type FrontDoor, listenOn, openFrontDoor } from '../support/traffic.ts'
import { unlistedInAnswer } from './answer-differences.ts'
import type { AnswerCase } from './answer-grammar.ts'
import { type AnswerReading, fieldsForClient, readAnswer } from './answer-reference.ts'
import { readAnswers, type SeenAnswer } from './answers-reader.ts'
import { same, show, trailersThatPass } from './expected.ts'
import { nodeReadsAnswer } from './llhttp.ts'

export class AnswerLab {
  readonly tally = { texts: 0, whole: 0, refused: 0, broken: 0 }
  readonly #server = createServer(socket => this.#serve(socket))
  readonly #sockets = new Set<Socket>()
  #port = 0
  #door: FrontDoor | null = null
  #case: AnswerCase | null = null
  /** Answers that are still being written. */
  #writing = 0
  #probes = 0

  async open(): Promise<void> {
    this.#port = await listenOn(this.#server)
    this.#door = await openFrontDoor({
      backends: [this.#port],
      engine: 'relay',
      timeouts: { idleMs: 2_000, headerMs: 2_000 },
    })
  }

  async close(): Promise<void> {
    await this.#door!.close()
    for (const socket of this.#sockets) socket.destroy()
    await closeServer(this.#server)
  }

  /** What is wrong; empty: nothing. */
  async try(one: AnswerCase): Promise<readonly string[]> {
    const { text, method, minor } = one
    // What does not end by itself has to be ended.
    const open = one.ending === 'stays' && readAnswer(text, method, false).outcome === 'cut'
    this.#case = open ? { ...one, ending: 'ends' } : one
    const { ending } = this.#case
    const reading = readAnswer(text, method, ending === 'ends')
    const client = new Client(this.#door!.port)
    await client.ask(`${method} /case HTTP/1.${minor}\r\nHost: x\r\n\r\n`, method)
    await this.#settle()
    const wrong = judge(reading, client, ending, minor)
    this.#count(client)
    wrong.push(...(await this.#probe(client)))
    if (ending === 'ends') {
      const unlisted = unlistedInAnswer(reading, await nodeReadsAnswer(text, method))
      if (unlisted !== null) wrong.push(unlisted)
    }
    return wrong
  }

  /** A following request, on the same connection if it was kept, gets its own answer and nothing else. */
  async #probe(client: Client): Promise<string[]> {
    const id = `/probe-${this.#probes++}`
    const kept = !client.closed && !client.last
    const asker = kept ? client : new Client(this.#door!.port)
    if (!kept) client.socket.destroy()
    const before = kept ? client.answers.length : 0
    await asker.ask(`GET ${id} HTTP/1.1\r\nHost: x\r\n\r\n`, 'GET')
    const { answers, rest, fault } = asker.read()
    asker.socket.destroy()
    const own = answers.length === before + 1 && answers.at(-1)!.body === id && rest === '' && fault === null
    return own ? [] : [`the probe got ${show(answers.slice(before))} and ${show(rest)}, ${fault}`]
  }

  #count({ answers }: Client): void {
    this.tally.texts++
    if (answers.length === 0) this.tally.broken++
    else if (answers[0]!.status === 502) this.tally.refused++
    else this.tally.whole++
  }

  /** The backend has said everything, and the door has heard it. */
  async #settle(): Promise<void> {
    const deadline = performance.now() + 5_000
    while (this.#writing > 0 && performance.now() < deadline) await turn()
    for (let turns = 0; turns < 3; turns++) await turn()
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('close', () => this.#sockets.delete(socket))
    let text = ''
    socket.on('data', bytes => {
      text += bytes.toString('latin1')
      for (let end = text.indexOf('\r\n\r\n'); end !== -1; end = text.indexOf('\r\n\r\n')) {
        const [, target = ''] = text.split(' ', 2)
        text = text.slice(end + 4)
        if (target === '/case') this.#sayCase(socket, this.#case!)
        else socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${target.length}\r\n\r\n${target}`)
      }
    })
  }

  #sayCase(socket: Socket, { text, cuts, ending }: AnswerCase): void {
    this.#writing++
    const bytes = Buffer.from(text, 'latin1')
    const rest = [...cuts, bytes.length]
    let at = 0
    const write = () => {
      const cut = rest.shift()
      if (cut !== undefined && !socket.destroyed) {
        socket.write(bytes.subarray(at, cut))
        at = cut
        return void setImmediate(write)
      }
      this.#writing--
      if (ending === 'ends') socket.end()
      else if (ending === 'resets') socket.resetAndDestroy()
    }
    write()
  }
}

/** A client that reads as it goes. */
class Client {
  readonly socket: Socket
  closed = false
  /** How it was closed: by an end, not by a reset. */
  ended = false
  #got = ''
  readonly #methods: string[] = []
  #heard = () => {}

  constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.socket.on('data', bytes => {
      this.#got += bytes.toString('latin1')
      this.#heard()
    })
    this.socket.on('end', () => {
      this.ended = true
    })
    this.socket.on('error', () => {})
    this.socket.on('close', () => {
      this.closed = true
      this.#heard()
    })
  }

  get answers(): readonly SeenAnswer[] {
    return this.read().answers
  }

  get last(): boolean {
    return this.answers.at(-1)?.last ?? false
  }

  read() {
    return readAnswers(this.#got, this.#methods, this.ended)
  }

  /** Until one more answer is whole, or the connection is closed. */
  async ask(text: string, method: string): Promise<void> {
    if (this.socket.connecting) await once(this.socket, 'connect')
    const before = this.answers.length
    this.#methods.push(method)
    this.socket.write(text, 'latin1')
    await new Promise<void>(resolve => {
      this.#heard = () => {
        // An answer that says it is the last is followed by the end.
        if (this.closed || (this.answers.length > before && !this.last)) resolve()
      }
      // Only a door that does what it must not lets it come to this.
      const giveUp = setTimeout(() => this.socket.destroy(), 8_000)
      this.socket.on('close', () => clearTimeout(giveUp))
      this.#heard()
    })
  }
}

function judge(reading: AnswerReading, client: Client, ending: AnswerCase['ending'], minor: 0 | 1): string[] {
  const { answers, rest, fault } = client.read()
  const wrong: string[] = []
  if (fault !== null) wrong.push(`the client got what is no answer: ${fault}`)
  if (answers.length > 1) wrong.push(`${answers.length} answers to one request: ${show(answers)}`)
  const [answer] = answers
  if (answer === undefined) {
    const mayBreak = ending === 'resets' || (reading.begun && reading.outcome !== 'whole')
    return mayBreak ? wrong : [...wrong, `no answer, but ${show(rest)}; expected ${show(reading)}`]
  }
  if (rest !== '') wrong.push(`bytes behind the answer: ${show(rest)}`)
  const ours = answer.status === 502 && answer.fields.every(([name]) => name !== 'via')
  if (ours) {
    const mayRefuse = ending === 'resets' || (!reading.begun && reading.outcome !== 'whole')
    return mayRefuse ? wrong : [...wrong, `502 instead of ${show(reading)}`]
  }
  if (reading.outcome !== 'whole') return [...wrong, `a whole answer from ${show(reading)}: ${show(answer)}`]
  return [...wrong, ...differences(reading, answer, minor)]
}

/** The version is the backend's. */
const ours = /^1\.[01] tidegate$/

function differences(reading: AnswerReading, answer: SeenAnswer, minor: 0 | 1): string[] {
  const wrong: string[] = []
  if (answer.status !== reading.status) wrong.push(`status ${reading.status} became ${answer.status}`)
  if (answer.body !== reading.body) wrong.push(`body ${show(reading.body)} became ${show(answer.body)}`)
  const expected = fieldsForClient(reading.fields)
  const added = answer.fields.filter(([name, value]) => name === 'via' && ours.test(value))
  if (added.length !== 1) wrong.push('our Via is not there once')
  const got = fieldsForClient(answer.fields).filter(([name, value]) => name !== 'via' || !ours.test(value))
  if (!same(expected, got)) wrong.push(`fields ${show(expected)} became ${show(got)}`)
  const trailers = minor === 1 && reading.framing === 'chunked' ? trailersThatPass(reading.trailers) : []
  if (!same(trailers, answer.trailers))
    wrong.push(`trailers ${show(trailers)} became ${show(answer.trailers)}`)
  return wrong
}

const turn = () => new Promise<void>(resolve => setImmediate(resolve))
