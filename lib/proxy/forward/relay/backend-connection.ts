/**
 * One connection to a backend, for one call after another. It finds where answers begin and end; whatever a backend says when
 * nobody has asked ends it.
 *
 *   connecting ──► idle ◄──────────────────────────────┐
 *        │          │ a call takes it                   │ answer and request whole, nothing left over, kept alive
 *        ▼          ▼                                   │
 *        └───────► head ── final head ──► body ──► (call is done)
 *                   │ 101                                └──► closed: in every other case
 *                   ▼
 *                 handed over to a tunnel
 */
import type { Socket } from 'node:net'
import type { Deadlines, Timed } from '../../deadlines.ts'
import { ChunkedReader, type ChunkSink } from '../../http1/chunked.ts'
import { MessageWriter } from '../../http1/message-writer.ts'
import { parseResponseHead, type ResponseHead } from '../../http1/response-head.ts'
import { interimAnswersMax, responseHeadBytesMax } from '../../limits.ts'
import type { Listed } from '../../roster.ts'
import { isTlsFailure } from '../../tls/upstream.ts'
import type { RelayCall } from './call.ts'
import type { MemberPool } from './pool.ts'

export class BackendConnection implements Timed, ChunkSink, Listed {
  listedAt = -1
  timedAt = -1
  deadlineMs = Number.POSITIVE_INFINITY
  readonly socket: Socket
  readonly writer: MessageWriter
  connected = false
  /** It has carried a call before this one. */
  used = false
  readonly #pool: MemberPool
  readonly #deadlines: Deadlines
  #call: RelayCall | null = null
  #reading: 'head' | 'body' = 'head'
  #partial = ''
  #interims = 0
  #head: ResponseHead | null = null
  #remaining = 0
  #chunks: ChunkedReader | null = null
  #closed = false
  #onRest: ((bytes: Buffer) => boolean) | null = null

  constructor(socket: Socket, pool: MemberPool, deadlines: Deadlines, secure: boolean) {
    this.socket = socket
    this.writer = new MessageWriter(socket)
    this.#pool = pool
    this.#deadlines = deadlines
    deadlines.add(this)
    socket.on(secure ? 'secureConnect' : 'connect', this.#onConnect)
    socket.on('end', this.#onEnd)
    socket.on('error', this.#onError)
    socket.on('close', this.#onClose)
    socket.on('drain', this.#onDrain)
  }

  /** Begins to serve `call`; its head is written as soon as the connection stands. */
  take(call: RelayCall): void {
    this.#call = call
    this.#reading = 'head'
    this.#interims = 0
    this.#head = null
    if (this.connected) call.connected()
  }

  destroy(): void {
    this.#call = null
    this.socket.destroy()
  }

  onDeadline(): void {
    if (this.#call !== null) this.#call.late()
    else this.destroy()
  }

  /** Part of an answer's chunked body. */
  onBody(bytes: Buffer): void {
    this.#call?.body(bytes)
  }

  /** Nothing more of ours listens on the socket; what is read from now on goes to `onRest`, which says whether it wants more. */
  release(onRest: (bytes: Buffer) => boolean): void {
    const { socket } = this
    this.writer.sendNow()
    this.#onRest = onRest
    this.#call = null
    this.#closed = true
    this.#deadlines.remove(this)
    this.#pool.gone(this)
    socket.off('end', this.#onEnd)
    socket.off('close', this.#onClose)
    socket.off('drain', this.#onDrain)
  }

  readonly #onConnect = () => {
    this.connected = true
    this.#call?.connected()
  }

  /** The bytes are the caller's again after this. False: read no further. */
  read(bytes: Buffer): boolean {
    if (this.#onRest !== null) return this.#onRest(bytes)
    const call = this.#call
    if (call === null) {
      this.destroy()
      return false
    }
    call.arrived()
    let offset = 0
    if (this.#reading === 'head') offset = this.#readHeads(bytes, call)
    // The call may have ended in what it was told.
    if (this.#call === call && this.#reading === 'body') this.#readBody(bytes, offset, call)
    if (this.#call === call) call.flush()
    return !this.socket.isPaused()
  }

  /** Returns where the body begins. */
  #readHeads(bytes: Buffer, call: RelayCall): number {
    const before = this.#partial.length
    const text = this.#partial + bytes.toString('latin1', 0, responseHeadBytesMax + 4 - before)
    let start = 0
    // What came before holds no end.
    let from = Math.max(0, before - 3)
    for (;;) {
      const end = text.indexOf('\r\n\r\n', from)
      if (end === -1) {
        this.#keepPartial(text.slice(start), text.length < before + bytes.length, call)
        return bytes.length
      }
      const head = parseResponseHead(start === 0 ? text : text.slice(start), call.toHead)
      start = end + 4
      from = start
      this.#partial = ''
      if ('fault' in head) {
        call.fail('upstream_bad_response')
        return 0
      }
      if (head.status >= 200) {
        this.#begin(head, call)
        return start - before
      }
      if (head.status === 101) {
        call.switched(head, Buffer.from(bytes.subarray(start - before)))
        return 0
      }
      if (++this.#interims > interimAnswersMax) call.fail('upstream_bad_response')
      else if (head.status !== 100) call.information(head)
      if (this.#call !== call) return 0
    }
  }

  /** `cut`: more of it has come than was looked at. */
  #keepPartial(partial: string, cut: boolean, call: RelayCall): void {
    const hopeless = partial.length >= 5 && !partial.startsWith('HTTP/')
    // All but the last byte of the blank line may be here.
    if (hopeless || cut || partial.length > responseHeadBytesMax + 3) {
      this.#partial = ''
      call.fail('upstream_bad_response')
    } else this.#partial = partial
  }

  #begin(head: ResponseHead, call: RelayCall): void {
    this.#head = head
    this.#reading = 'body'
    this.#remaining = head.framing === 'length' ? head.length : 0
    if (head.framing === 'chunked') {
      this.#chunks ??= new ChunkedReader()
      this.#chunks.reset()
    }
    call.answer(head)
  }

  #readBody(bytes: Buffer, offset: number, call: RelayCall): void {
    const head = this.#head!
    switch (head.framing) {
      case 'none':
        return this.#finish(bytes.length - offset, call, [])
      case 'close':
        if (offset < bytes.length) call.body(offset === 0 ? bytes : bytes.subarray(offset))
        return
      case 'length': {
        const end = Math.min(bytes.length, offset + this.#remaining)
        this.#remaining -= end - offset
        if (end > offset)
          call.body(offset === 0 && end === bytes.length ? bytes : bytes.subarray(offset, end))
        if (this.#remaining === 0 && this.#call === call) this.#finish(bytes.length - end, call, [])
        return
      }
      case 'chunked': {
        const chunks = this.#chunks!
        const end = chunks.feed(bytes, offset, this)
        if (this.#call !== call) return
        if (chunks.state === 'fault') call.fail('upstream_bad_response')
        else if (chunks.state === 'done') this.#finish(bytes.length - end, call, chunks.trailers ?? [])
      }
    }
  }

  /** The connection is given back before the call hears of its end: what follows may want it. */
  #finish(left: number, call: RelayCall, trailers: readonly string[]): void {
    const whole = left === 0 && call.requestSent && !call.last && !this.writer.holds
    const reusable = whole && this.#head!.keepAlive && !this.#closed
    this.#call = null
    this.used = true
    if (reusable) this.#pool.giveBack(this, this.#head!.keepsMs)
    else this.socket.destroy()
    call.done(trailers)
  }

  readonly #onEnd = () => {
    const call = this.#call
    if (call === null) return this.destroy()
    if (this.#reading === 'body' && this.#head!.framing === 'close') this.#finish(0, call, [])
    else call.fail('upstream_reset')
  }

  readonly #onError = (error: Error) => {
    const unmade = isTlsFailure(error) ? 'upstream_tls_failed' : 'upstream_connect_failed'
    this.#call?.fail(this.connected ? 'upstream_reset' : unmade)
  }

  readonly #onClose = () => {
    this.#closed = true
    this.#deadlines.remove(this)
    this.#pool.gone(this)
    this.#call?.fail(this.connected ? 'upstream_reset' : 'upstream_connect_failed')
  }

  readonly #onDrain = () => {
    this.#call?.requestRoom()
  }
}
