/** A WebSocket to a backend that speaks HTTP/2: an extended CONNECT (RFC 8441), if the backend offers it. */
import { createHash } from 'node:crypto'
import { constants, type IncomingHttpHeaders } from 'node:http2'
import type { Deadlines, Timed } from '../../deadlines.ts'
import { closeHandshakeMs } from '../../limits.ts'
import type { ForwardEvents, ForwardRequest, TunnelEnd } from '../forward.ts'
import { H2Call } from './call.ts'
import { answerHead, plainFields, webSocketFields } from './head.ts'
import type { BackendSession } from './session.ts'
import type { MemberSessions } from './sessions.ts'

export class H2Upgrade extends H2Call {
  readonly #client: TunnelEnd
  readonly #deadlines: Deadlines

  constructor(
    request: ForwardRequest,
    events: ForwardEvents,
    deadlines: Deadlines,
    sessions: MemberSessions,
    client: TunnelEnd,
  ) {
    super(request, events, deadlines, sessions)
    this.#client = client
    this.#deadlines = deadlines
  }

  protected override ask(session: BackendSession): void {
    session.http2.once('close', () => {
      if (this.stream === null && this.session === session) this.fail(session.failure)
    })
    session.whenSettled(() => {
      if (this.phase === 'over') return session.leave()
      if (!session.takesWebSockets) {
        session.leave()
        return this.fail('upgrade_unsupported')
      }
      this.take(session.http2.request(webSocketFields(this.request), { endStream: false }))
    })
  }

  protected override onResponse(
    headers: IncomingHttpHeaders,
    flags: number,
    raw: readonly string[] | undefined,
  ): void {
    if (Number(headers[':status']) !== 200) return super.onResponse(headers, flags, raw)
    if (!this.finish()) return
    const accept = acceptOf(String(this.request.head.fields()['sec-websocket-key']))
    const fields = [...plainFields(raw ?? []), 'sec-websocket-accept', accept]
    this.events.switched({ ...answerHead(101, [], false), fields: () => fields })
    this.#join()
  }

  /** Bytes both ways; the end of the one is the end of the other. */
  #join(): void {
    const stream = this.stream!
    const client = this.#client
    stream.on('error', ignore)
    stream.pipe(client)
    client.pipe(stream)
    stream.on('close', () =>
      stream.rstCode === constants.NGHTTP2_NO_ERROR ? client.destroySoon() : client.destroy(),
    )
    client.once('close', () => this.#release())
  }

  /** A backend that does not end its own half does not keep the stream for ever. */
  #release(): void {
    const stream = this.stream!
    if (stream.destroyed) return
    const deadlines = this.#deadlines
    const entry: Timed = {
      timedAt: -1,
      deadlineMs: 0,
      onDeadline: () => stream.close(constants.NGHTTP2_CANCEL),
    }
    deadlines.add(entry)
    entry.deadlineMs = deadlines.in(closeHandshakeMs)
    stream.once('close', () => deadlines.remove(entry))
    stream.end()
    stream.resume()
  }
}

const ignore = () => {}

/** RFC 6455 §4.2.2. */
const acceptOf = (key: string) =>
  createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
