/** The answers on one client connection: which framing each gets, what is added to its head, and when there is room for more. */
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { Writable } from 'node:stream'
import type { ErrorCode } from '../../../errors.ts'
import type { AnswerBody, AnswerHead } from '../../client-end.ts'
import { type InboundExtras, inboundHeaders, trailerFields } from '../../headers.ts'
import { type Framing, MessageWriter } from '../../http1/message-writer.ts'
import { ResponseHead } from '../../http1/response-head.ts'
import { switchingHead } from '../../node-client.ts'
import { render } from '../../reply.ts'

export interface AnswerManner {
  readonly toHead: boolean
  /** HTTP/1.0: knows no chunks, and keeps a connection only if told so. */
  readonly oldClient: boolean
  readonly keepAlive: boolean
}

export class AnswerWriter implements AnswerBody {
  /** The head of the answer is given. */
  begun = false
  /** The connection is kept after this answer. */
  keepAlive = false
  readonly #socket: Socket
  readonly #writer: MessageWriter
  #framing: Framing = 'none'
  #room: (() => void) | null = null
  #overrun = false

  constructor(socket: Socket) {
    this.#socket = socket
    this.#writer = new MessageWriter(socket)
  }

  get bytes(): number {
    return this.#writer.bodyBytes
  }

  get full(): boolean {
    return this.#writer.full
  }

  /** Something of the answer has not gone out yet. */
  get waits(): boolean {
    return this.#writer.waits
  }

  get endsWithConnection(): boolean {
    return this.#framing === 'close'
  }

  /** Another request: nothing of its answer has been written. */
  next(): void {
    this.reset()
    this.#writer.bodyBytes = 0
  }

  reset(): void {
    this.begun = false
    this.#room = null
    this.#overrun = false
    this.#framing = 'none'
  }

  interim(text: string): void {
    this.#writer.sendNow()
    this.#socket.write(text, 'latin1')
  }

  information(head: AnswerHead): void {
    this.interim(
      `HTTP/1.1 ${head.status} ${head.message}\r\n${lines(inboundHeaders(head.fields(), noExtras))}\r\n`,
    )
  }

  switching(head: AnswerHead, extras: InboundExtras): string {
    this.begun = true
    this.#writer.sendNow()
    return switchingHead(inboundHeaders(head.fields(), extras))
  }

  begin(head: AnswerHead, extras: InboundExtras, manner: AnswerManner): void {
    let text: string
    let framing: Framing
    let length: number
    if (head instanceof ResponseHead) {
      length = head.length
      framing = head.framing === 'close' ? 'chunked' : head.framing
      text = head.start + (head.version === '1.0' ? 'Via: 1.0 tidegate\r\n' : 'Via: 1.1 tidegate\r\n')
      if (extras.setCookie !== null) text += `Set-Cookie: ${extras.setCookie}\r\n`
      if (extras.backend !== null) text += `X-Tidegate-Backend: ${extras.backend}\r\n`
    } else {
      if (unsayable.test(head.message)) throw new TypeError('a status line that cannot be sent')
      const fields = inboundHeaders(head.fields(), extras, head.version)
      length = takeLength(fields)
      framing = framingOf(head.status, length, manner.toHead)
      text = `HTTP/1.1 ${head.status} ${head.message}\r\n${lines(fields)}`
    }
    if (framing === 'chunked' && manner.oldClient) framing = 'close'
    this.begun = true
    this.#framing = framing
    this.keepAlive = manner.keepAlive && framing !== 'close'
    if (length >= 0) text += `Content-Length: ${length}\r\n`
    else if (framing === 'chunked') text += 'Transfer-Encoding: chunked\r\n'
    if (!this.keepAlive) text += 'Connection: close\r\n'
    else if (manner.oldClient) text += 'Connection: keep-alive\r\n'
    this.#writer.begin(`${text}\r\n`, framing, length)
  }

  /** An answer of our own, whole. */
  refuse(
    code: ErrorCode,
    reason: string | null,
    {
      accept,
      fields,
      ...manner
    }: AnswerManner & {
      readonly accept: string | undefined
      readonly fields: readonly (readonly [string, string])[]
    },
  ): void {
    const { status, contentType, body } = render(code, accept, reason)
    this.#writer.bodyBytes = manner.toHead ? 0 : Buffer.byteLength(body)
    this.begun = true
    this.keepAlive = manner.keepAlive
    let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nContent-Type: ${contentType}\r\n`
    text += `Content-Length: ${Buffer.byteLength(body)}\r\nCache-Control: no-store\r\n`
    if (status === 503) text += 'Retry-After: 1\r\n'
    for (const [name, value] of fields) text += `${name}: ${value}\r\n`
    if (!this.keepAlive) text += 'Connection: close\r\n'
    else if (manner.oldClient) text += 'Connection: keep-alive\r\n'
    this.interim(`${text}\r\n${manner.toHead ? '' : body}`)
  }

  write(bytes: Buffer): boolean {
    if (!this.#writer.write(bytes)) this.#overrun = true
    return !this.#writer.full
  }

  flush(): void {
    this.#writer.flush()
  }

  /** False: what the head promised has not come, or more than that. */
  end(trailers: readonly string[]): boolean {
    if (this.#overrun || !this.#writer.complete) return false
    this.#writer.end(this.#framing === 'chunked' && trailers.length > 0 ? trailerFields(trailers) : [])
    return true
  }

  onRoom(listener: () => void): void {
    this.#room = listener
  }

  // The end of the connection: what was said goes out first.

  endConnection(ended: () => void): void {
    this.#writer.sendNow()
    this.#socket.end(ended)
  }

  destroyConnection(): void {
    this.#writer.sendNow()
    this.#socket.destroy()
  }

  drained(): void {
    const room = this.#room
    this.#room = null
    room?.()
  }

  stream(): Writable {
    return new Writable({
      write: (bytes: Buffer, _encoding, done) => {
        const room = this.write(bytes)
        this.flush()
        if (room) done()
        else this.onRoom(done)
      },
    })
  }
}

/** The Content-Length, taken out of the fields; -1 if there is none. */
function takeLength(fields: string[]): number {
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i]!.toLowerCase() !== 'content-length') continue
    const [, value] = fields.splice(i, 2)
    return /^\d{1,15}$/.test(value!) ? Number(value) : -1
  }
  return -1
}

function framingOf(status: number, length: number, toHead: boolean): Framing {
  if (toHead || status < 200 || status === 204 || status === 304) return 'none'
  return length >= 0 ? 'length' : 'chunked'
}

function lines(fields: readonly string[]): string {
  let text = ''
  for (let i = 0; i < fields.length; i += 2) text += `${fields[i]}: ${fields[i + 1]}\r\n`
  return text
}

const noExtras: InboundExtras = { setCookie: null, backend: null }
const unsayable = /[^\t\x20-\x7e\x80-\xff]/
