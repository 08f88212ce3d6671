/**
 * One request text at a time through a real front door to the lenient backend, and everything that must hold of what came of it:
 * at the client, at the backend as three readers see it, and beside Node's verdict on the same bytes.
 */
import { METHODS } from 'node:http'
import { connect } from 'node:net'
import { type FrontDoor, openFrontDoor } from '../support/traffic.ts'
import { readAnswers } from './answers-reader.ts'
import { unlisted } from './differences.ts'
import { difference, same, show } from './expected.ts'
import { echoOf, LenientBackend } from './lenient-backend.ts'
import { NodeServer } from './llhttp.ts'
import { Random } from './random.ts'
import { behindUs, type Reading, readRequests, statusOf } from './reference.ts'

export class RequestLab {
  /** How often what was seen: the run must not be blind. */
  readonly tally = { texts: 0, requests: 0, refused: 0, unfinished: 0 }
  readonly #backend: LenientBackend
  readonly #node = new NodeServer()
  #door: FrontDoor | null = null

  constructor(random: Random) {
    // Chance of its own: what is sent must not depend on when connections are made.
    this.#backend = new LenientBackend(new Random(random.below(2 ** 31)))
  }

  async open(): Promise<void> {
    await this.#backend.open()
    this.#door = await openFrontDoor({
      backends: [this.#backend.port],
      engine: 'relay',
      // Nothing here may have to wait for a deadline.
      timeouts: { idleMs: 60_000, headerMs: 60_000 },
    })
  }

  async close(): Promise<void> {
    await this.#door!.close()
    await this.#backend.close()
  }

  /**
   * What is wrong; empty: nothing. `cuts`: where the bytes are cut into pieces. `patient`: the client ends its half only when it has its
   * answers; one that asked for an upgrade does that always, for else it has left.
   */
  async try(text: string, cuts: readonly number[], patient: boolean): Promise<readonly string[]> {
    const backend = this.#backend
    backend.mark()
    const reading = readRequests(text)
    const late = patient || /upgrade/i.test(text)
    const got = await this.#send(text, cuts, late ? reading.requests.map(({ method }) => method) : [])
    const settled = await this.#settle()
    this.tally.texts++
    this.tally.requests += reading.requests.length
    if (reading.faults.length > 0) this.tally.refused++
    else if (reading.begun !== null) this.tally.unfinished++
    const unlistedDifference = unlisted(reading, await this.#node.read(text))
    return [
      ...(settled ? [] : ['something is still under way']),
      ...atTheClient(reading, got),
      ...(await this.#atTheBackend(reading)),
      ...(unlistedDifference === null ? [] : [unlistedDifference]),
    ]
  }

  /** Everything the client gets until its connection is closed. It ends its half after so many answers. */
  #send(text: string, cuts: readonly number[], methods: readonly string[]): Promise<string> {
    return new Promise(resolve => {
      const bytes = Buffer.from(text, 'latin1')
      const socket = connect({
        port: this.#door!.port,
        host: '127.0.0.1',
        noDelay: true,
        allowHalfOpen: true,
      })
      let got = ''
      let at = 0
      let written = false
      const rest = [...cuts, bytes.length]
      const endInTime = () => {
        const { answers } = readAnswers(got, methods, false)
        if (written && answers.length >= methods.length) socket.end()
      }
      const write = () => {
        const cut = rest.shift()
        written = cut === undefined
        if (cut === undefined) return endInTime()
        socket.write(bytes.subarray(at, cut))
        at = cut
        setImmediate(write)
      }
      socket.on('connect', write)
      socket.on('data', piece => {
        got += piece.toString('latin1')
        endInTime()
      })
      socket.on('end', () => socket.end())
      socket.on('error', () => {})
      // Only a door that does what it must not lets it come to this.
      const giveUp = setTimeout(() => socket.destroy(), 5_000)
      socket.on('close', () => {
        clearTimeout(giveUp)
        resolve(got)
      })
    })
  }

  /** Until nothing is under way, and what the door wrote last has been read by the backend. */
  async #settle(): Promise<boolean> {
    const deadline = performance.now() + 5_000
    for (let turns = 0; turns < 3; turns++) await turn()
    while (!this.#backend.settled || this.#door!.context.exchanges.size > 0) {
      if (performance.now() > deadline) return false
      await turn()
    }
    return true
  }

  async #atTheBackend(reading: Reading): Promise<string[]> {
    const { port, requests, connections } = this.#backend
    const wrong: string[] = []
    const facts = reading.requests.map(({ method, target, authority, body }) => ({
      method,
      target,
      host: authority === '' ? `127.0.0.1:${port}` : authority,
      body,
    }))
    if (!same(facts, requests)) wrong.push(`the lenient backend saw ${show(requests)}, not ${show(facts)}`)
    const strictly: Reading['requests'][number][] = []
    // One request at a time: a connection's requests stand together.
    for (const { bytes, closed } of connections.toSorted((a, b) => a.order - b.order)) {
      const strict = readRequests(bytes, behindUs)
      strictly.push(...strict.requests)
      if (strict.faults.length > 0)
        wrong.push(`the backend got what is no request: ${strict.faults} in ${show(bytes)}`)
      if (strict.begun !== null && !closed) wrong.push('half a request on an open connection')
      const node = await this.#node.read(bytes)
      const known = strict.requests.filter(({ method }) => METHODS.includes(method))
      const theirs = node.requests.map(({ method, url, body }) => [method, url, body])
      const ours = strict.requests.map(({ method, target, body }) => [method, target, body])
      if (known.length === ours.length && !same(ours, theirs))
        wrong.push(`Node reads ${show(theirs)} at the backend`)
    }
    if (strictly.length !== reading.requests.length)
      wrong.push(`${strictly.length} requests at the backend, not ${reading.requests.length}`)
    for (const [i, sent] of reading.requests.entries()) {
      const what = strictly[i] === undefined ? null : difference(sent, strictly[i], port)
      if (what !== null) wrong.push(`request ${i}: ${what}`)
    }
    return wrong
  }
}

function atTheClient({ requests, begun, faults }: Reading, got: string): string[] {
  const methods = [...requests, begun].map(request => request?.method ?? 'GET')
  const { answers, rest, fault } = readAnswers(got, methods, true)
  const wrong: string[] = []
  if (fault !== null || rest !== '') wrong.push(`the client got what is no answer: ${fault ?? show(rest)}`)
  for (const [i, { method, target }] of requests.entries()) {
    const answer = answers[i]
    const body = method === 'HEAD' ? '' : echoOf(method, target)
    if (answer?.status !== 200 || answer.body !== body)
      wrong.push(`request ${i} (${method} ${target}) was answered ${show(answer)}`)
  }
  const more = answers.slice(requests.length).map(({ status }) => status)
  const statuses = faults.map(statusOf)
  const refused = more.length === 1 && statuses.includes(more[0]!)
  if (faults.length > 0 && !refused) wrong.push(`${faults} was answered ${show(more)}`)
  if (faults.length === 0 && more.length > 0)
    wrong.push(`an answer to ${begun ? 'half a request' : 'nothing'}: ${more}`)
  return wrong
}

const turn = () => new Promise<void>(resolve => setImmediate(resolve))
