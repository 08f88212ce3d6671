/**
 * Sends spans to a collector by OTLP/HTTP (JSON), in the background: one request at a time, what waits is bounded, what does not fit
 * is dropped and counted. Traffic never waits for a collector.
 *
 *   waiting ──512 spans' exchanges, or 1 s──► sending ──2xx──► sent
 *      ▲                                        │ 429 502 503 504, no answer: after a pause, five times at most
 *      └────────────── the rest of the queue ◄──┴── anything else: dropped
 */
import { readFileSync } from 'node:fs'
import {
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
  validateHeaderName,
  validateHeaderValue,
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import type { Clock } from '../../clock.ts'
import type { OtlpConfig } from '../../config/config.ts'
import type { Log } from '../../log.ts'
import type { CounterColumn } from './counters.ts'
import type { ExchangeRecord } from './exchange-record.ts'
import type { ExchangeTrace } from './exchange-trace.ts'
import { requestText, spanCount, spansText } from './spans.ts'
import type { TurnClock } from './turn-clock.ts'

const batchMax = 512
const waitingMax = 4_096
/** Of the text that waits; a span is about a thousand. */
const waitingCharsMax = 4 * 1024 * 1024
const batchWaitMs = 1_000
const sendTimeoutMs = 10_000
const sendsMax = 5
const pauseMinMs = 1_000
const pauseMaxMs = 30_000
const closeLimitMs = 2_000
const sayDroppedMs = 1_000
const headersFileBytesMax = 16 * 1024
const retryable = new Set([429, 502, 503, 504])

export interface SpanExporterDeps {
  readonly clock: Clock
  readonly turns: TurnClock
  readonly counters: CounterColumn
  readonly log: Log
  /** 0 to 1: spreads retries. */
  readonly random: () => number
  /** Tells one Tidegate, and one thread of it, from another. */
  readonly instanceId: string
}

/** The spans of one exchange. */
interface Piece {
  readonly text: string
  readonly spans: number
}

export class SpanExporter {
  readonly #config: OtlpConfig
  readonly #deps: SpanExporterDeps
  readonly #agent: HttpAgent
  readonly #options: { readonly query: 'keep' | 'drop'; readonly wall: (atMs: number) => number }
  readonly #cancelSay: () => void
  #headers: Readonly<Record<string, string>>
  #waiting: Piece[] = []
  #chars = 0
  #timer: (() => void) | null = null
  #sending = false
  #closing = false
  #dropped = 0
  #reason = ''
  #idle: (() => void) | null = null
  #cutPause: (() => void) | null = null

  constructor(config: OtlpConfig, deps: SpanExporterDeps) {
    this.#config = config
    this.#deps = deps
    const options = { keepAlive: true, maxSockets: 1 }
    this.#agent = config.endpoint.startsWith('https:') ? new HttpsAgent(options) : new HttpAgent(options)
    this.#options = { query: config.query, wall: atMs => deps.turns.wall(atMs) }
    this.#headers = this.#readHeaders()
    this.#cancelSay = deps.clock.every(sayDroppedMs, () => this.#sayDropped())
  }

  record(record: ExchangeRecord, trace: ExchangeTrace): void {
    const spans = spanCount(trace)
    if (this.#closing || this.#waiting.length >= waitingMax || this.#chars >= waitingCharsMax)
      return this.#drop(spans, 'too many spans wait')
    const text = spansText(record, trace, this.#options)
    this.#chars += text.length
    this.#waiting.push({ text, spans })
    if (this.#waiting.length >= batchMax) void this.#send()
    else this.#timer ??= this.#deps.clock.after(batchWaitMs, () => void this.#send())
  }

  /** Reads the fields to send along again: a reload. */
  reopen(): void {
    this.#headers = this.#readHeaders()
  }

  /** Sends what waits, for two seconds at most. */
  async close(): Promise<void> {
    const { clock } = this.#deps
    if (this.#waiting.length > 0) void this.#send()
    this.#closing = true
    this.#cutPause?.()
    if (this.#sending) {
      await new Promise<void>(resolve => {
        const cancel = clock.after(closeLimitMs, resolve)
        this.#idle = () => {
          cancel()
          resolve()
        }
      })
    }
    this.#timer?.()
    this.#cancelSay()
    this.#agent.destroy()
    for (const { spans } of this.#waiting.splice(0)) this.#drop(spans, 'the proxy stopped')
    this.#sayDropped()
  }

  async #send(): Promise<void> {
    this.#timer?.()
    this.#timer = null
    if (this.#sending) return
    this.#sending = true
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, batchMax)
      for (const { text } of batch) this.#chars -= text.length
      await this.#deliver(batch)
      // A batch that is not full may wait for company.
      if (this.#waiting.length < batchMax && !this.#closing) break
    }
    this.#sending = false
    if (this.#waiting.length > 0) this.#timer ??= this.#deps.clock.after(batchWaitMs, () => void this.#send())
    this.#idle?.()
  }

  async #deliver(batch: readonly Piece[]): Promise<void> {
    const { clock, counters, random } = this.#deps
    const texts = batch.map(({ text }) => text)
    const body = Buffer.from(requestText(this.#config.serviceName, this.#deps.instanceId, texts), 'latin1')
    const spans = batch.reduce((sum, piece) => sum + piece.spans, 0)
    let reason = ''
    for (let sends = 1; sends <= sendsMax; sends++) {
      const { status, detail } = await this.#post(body)
      if (status >= 200 && status < 300) {
        counters.fact('spansSent', spans)
        return
      }
      reason = detail
      if ((status !== 0 && !retryable.has(status)) || this.#closing || sends === sendsMax) break
      const pauseMs = Math.min(pauseMaxMs, pauseMinMs * 2 ** (sends - 1)) * (0.5 + random() / 2)
      await new Promise<void>(resolve => {
        const cancel = clock.after(pauseMs, resolve)
        this.#cutPause = () => {
          cancel()
          resolve()
        }
      })
      this.#cutPause = null
    }
    this.#drop(spans, reason)
  }

  /** Resolves always; status 0: there was no answer. */
  #post(body: Buffer): Promise<{ readonly status: number; readonly detail: string }> {
    const send = this.#config.endpoint.startsWith('https:') ? httpsRequest : httpRequest
    return new Promise(resolve => {
      const cancel = this.#deps.clock.after(sendTimeoutMs, () => call.destroy(new Error('no answer in time')))
      const end = (status: number, detail: string) => {
        cancel()
        resolve({ status, detail })
      }
      const call = send(this.#config.endpoint, {
        method: 'POST',
        agent: this.#agent,
        headers: { ...this.#headers, 'content-type': 'application/json', 'content-length': body.length },
      })
      call.on('response', (response: IncomingMessage) => {
        const status = response.statusCode ?? 0
        response.on('error', () => end(status, 'the answer broke off'))
        response.on('end', () => end(status, `the collector answered ${status}`))
        response.resume()
      })
      call.on('error', error => end(0, `the collector cannot be reached: ${error.message}`))
      call.end(body)
    })
  }

  #readHeaders(): Readonly<Record<string, string>> {
    const path = this.#config.headersFile
    if (path === null) return {}
    try {
      const text = readFileSync(path, 'utf8')
      if (text.length > headersFileBytesMax) throw new Error(`longer than ${headersFileBytesMax} characters`)
      return parseHeaders(text)
    } catch (error) {
      // Never the content: it is a secret.
      this.#deps.log.error(
        { path, reason: (error as Error).message },
        'the fields for the span collector cannot be read; sending without them',
      )
      return {}
    }
  }

  #drop(spans: number, reason: string): void {
    this.#dropped += spans
    this.#reason = reason
    this.#deps.counters.fact('spansDropped', spans)
  }

  #sayDropped(): void {
    if (this.#dropped === 0) return
    const { endpoint } = this.#config
    this.#deps.log.warn({ endpoint, spans: this.#dropped, reason: this.#reason }, 'spans were dropped')
    this.#dropped = 0
  }
}

/** One `Name: value` a line; empty lines and lines that begin with `#` are left out. Throws for others, naming the line and not its content. */
export function parseHeaders(text: string): Record<string, string> {
  const headers: Record<string, string> = {}
  text.split('\n').forEach((raw, i) => {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) return
    const colon = line.indexOf(':')
    const name = line.slice(0, colon).trim().toLowerCase()
    const value = line.slice(colon + 1).trim()
    try {
      if (colon < 1) throw new Error('no colon')
      validateHeaderName(name)
      validateHeaderValue(name, value)
    } catch {
      throw new Error(`line ${i + 1} is not \`Name: value\``)
    }
    headers[name] = value
  })
  return headers
}
