/**
 * What an exchange tells of itself: its record is filled as it goes and handed to the observer once, when the exchange or the tunnel
 * that it became is over. The exchange decides; nothing here does.
 */
import type { Member } from '../cluster/member.ts'
import { type ErrorCode, errorTable } from '../errors.ts'
import type { AskedFor } from './asked.ts'
import type { Attempt } from './attempt.ts'
import type { ClientEnd, OutboundHead } from './client-end.ts'
import { failoverHeader } from './headers.ts'
import { failoverValue } from './heirs.ts'
import { type EndedBy, ending, type Phase } from './observe/ending.ts'
import type { ExchangeRecord } from './observe/exchange-record.ts'
import type { AttemptSpan as Span } from './observe/exchange-trace.ts'
import type { Observer } from './observe/observer.ts'
import type { RouteCluster } from './route-table.ts'
import type { Tunnel } from './tunnel.ts'

export class Telling {
  readonly record: ExchangeRecord
  phase: Phase = 'request'
  #late = false
  readonly #observer: Observer
  #over = false

  constructor(observer: Observer) {
    this.#observer = observer
    this.record = observer.begin()
  }

  asked(client: ClientEnd, asked: AskedFor): void {
    const { record } = this
    const { line } = asked
    record.method = client.method
    record.protocol = client.protocol
    record.host = line.authority
    record.target = line.target
    record.client = asked.clientIp()
    record.tls = client.secure ? client.tlsVersion : null
    if (this.#observer.wantsUserAgent) record.userAgent = client.field('user-agent') ?? null
    if (this.#observer.wantsReferer) record.referer = client.field('referer') ?? null
    const context = { traceparent: client.field('traceparent'), tracestate: client.field('tracestate') }
    record.trace = this.#observer.trace(context, asked.trusted)
  }

  routed({ id }: RouteCluster, path: string): void {
    this.record.cluster = id
    this.record.row = this.#observer.row(id)
    this.record.route = path
  }

  /** It is being sent to this member. Null: it belongs to no trace. */
  sent(member: Member, nowMs: number): Span | null {
    const { record } = this
    record.attempts++
    record.backend = member.id
    this.phase = 'head'
    if (record.trace === null) return null
    const { id, host, port, tls } = member
    return record.trace.attempt({ id, host, port, secure: tls !== null }, nowMs)
  }

  /** The head for one attempt: with the trace that it is part of, and what is to be said of a session that was moved. */
  head(head: OutboundHead, { span, picked: { moved } }: Attempt): OutboundHead {
    if (span === null && moved === null) return head
    const more: Record<string, string> = moved === null ? {} : { [failoverHeader]: failoverValue(moved) }
    if (span !== null) {
      more.traceparent = span.traceparent
      const { tracestate } = this.record.trace!
      if (tracestate !== null) more.tracestate = tracestate
    }
    const lines = Object.entries(more).map(([name, value]) => `${name}: ${value}\r\n`)
    return {
      fields: () => ({ ...head.fields(), ...more }),
      text: member => `${head.text(member).slice(0, -2)}${lines.join('')}\r\n`,
    }
  }

  answered(status: number, nowMs: number): void {
    this.record.status = status
    this.record.headMs = nowMs
    this.phase = 'data'
  }

  mirrored(sent: boolean): void {
    this.#observer.counters.add(this.record.row, sent ? 'mirrored' : 'mirrorsDropped', 1)
  }

  /** The cluster that it was for leaves it to another. */
  passedOn(to: RouteCluster, path: string): void {
    this.#observer.counters.add(this.record.row, 'splitFallbacks', 1)
    this.routed(to, path)
  }

  /** It cannot go on, or not here. `late`: the client did not read. */
  failed(code: ErrorCode, client: ClientEnd, late: boolean = client.tooSlow): void {
    // How far it was is looked at now: what is left of a body may still be read, so that the client sees its answer.
    if (this.record.error === null && this.phase === 'upload' && client.bodyComplete) this.phase = 'head'
    this.record.error = code
    this.#late = late
  }

  /** `by`: null blames by the error. */
  over(client: ClientEnd, by: EndedBy | null): void {
    const { record } = this
    record.bytesIn = client.bytesIn
    record.bytesOut = client.bytesOut
    record.ending = ending(record.error, this.phase, record.error === null ? 'nobody' : by, this.#late)
    this.#hand()
  }

  /** The rest is the tunnel's: told when it is over. */
  tunnel(tunnel: Tunnel): void {
    const { record } = this
    this.phase = 'tunnel'
    this.#observer.counters.add(record.row, 'tunnelsOpened', 1)
    tunnel.once('close', () => {
      record.bytesIn = tunnel.bytesIn
      record.bytesOut = tunnel.bytesOut
      record.ending = ending(null, 'tunnel', tunnel.endedBy)
      this.#hand()
    })
  }

  #hand(): void {
    if (this.#over) return
    this.#over = true
    this.#observer.over(this.record)
  }
}

/** What was refused before it was a request: a head that is none, or came too late. */
export function tellRefused(observer: Observer, peer: string, code: ErrorCode): void {
  const record = observer.begin()
  record.client = peer
  record.status = errorTable[code].status
  record.error = code
  record.ending = ending(code, 'request', null)
  observer.over(record)
}
