/**
 * HTTP/1.1 with JSON bodies over a hypervisor's unix socket, for the drivers whose hypervisor has such an API.
 *
 *   const api = new HttpUnixClient(path, { peer: 'Cloud Hypervisor', requestBytesMax: 4 * MiB }, clock)
 *   const { status, body, text } = await api.call('PUT', '/api/v1/vm.resize', { desired_vcpus: 2 }, { timeoutMs, signal })
 *
 * - Any status is an answer; what a status means is the caller's. `body` is the parsed JSON, or `undefined` when there was
 *   none. A 2xx whose body is not JSON is no answer; what others say is in `text` as it came.
 * - `undefined` as a request's body sends none, not `{}`: hypervisors refuse a body where they want none.
 * - A call has its own connection, a deadline for all of it, and ends at once with the signal's reason when that aborts.
 * - No answer is a `NoAnswer`, and says which of three it was (`no-answer.ts`).
 *
 * Over `node:http` rather than a library: it parses strictly, takes a connection of our making, and nothing has to be kept.
 */
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { basename, dirname } from 'node:path'
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import { NoAnswer } from '../no-answer.ts'
import { isCode } from '../ownership.ts'

export interface HttpUnixOptions {
  /** Who answers, as people call it. */
  readonly peer: string
  /** The largest body that it takes, bytes. */
  readonly requestBytesMax: number
  /** The largest body that we take, bytes. */
  readonly answerBytesMax?: number
}

export interface CallLimits {
  /** For the whole call, both bodies included. */
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
}

export interface HttpAnswer {
  readonly status: number
  readonly body: unknown
  readonly text: string
}

const answerBytesMaxDefault = 16 * 1024 * 1024
const headersBytesMax = 16 * 1024
/** Of what is said in an error message. */
const wordsCharsMax = 200

export class HttpUnixClient {
  readonly path: string
  readonly #options: HttpUnixOptions
  readonly #clock: Clock

  constructor(path: string, options: HttpUnixOptions, clock: Clock) {
    this.path = path
    this.#options = options
    this.#clock = clock
  }

  async call(
    method: 'GET' | 'PUT' | 'PATCH',
    target: string,
    body: unknown,
    limits: CallLimits,
  ): Promise<HttpAnswer> {
    limits.signal?.throwIfAborted()
    const content = this.#encode(body)
    const call = new Call(limits, this.#clock)
    const what = `${method} ${target}`
    try {
      return await call.run(async () => {
        const socket = await this.#connect(call)
        const answered = answerTo(method, target, content, socket, call)
        return await this.#read(await answered)
      })
    } catch (error) {
      // Whatever broke first, the abort or the deadline is the cause once it has come.
      if (limits.signal?.aborted) throw limits.signal.reason
      throw this.#silence(call, error, what, limits.timeoutMs)
    } finally {
      call.end()
    }
  }

  #encode(body: unknown): Buffer | null {
    if (body === undefined) return null
    const content = Buffer.from(JSON.stringify(body))
    const { requestBytesMax, peer } = this.#options
    if (content.length <= requestBytesMax) return content
    const message = `${peer} takes no more than ${requestBytesMax} bytes at once, and this is ${content.length}`
    throw new TidegateError('hypervisor_failed', message)
  }

  /** By way of an open directory (Linux): a socket's path may have 107 bytes, a node's directory more. */
  async #connect(call: Call): Promise<Socket> {
    let directory: FileHandle | null = null
    try {
      directory = await open(dirname(this.path), constants.O_RDONLY | constants.O_DIRECTORY)
      if (call.over) throw new Error('the call is over')
      const socket = connect(`/proc/self/fd/${directory.fd}/${basename(this.path)}`)
      call.onEnd(() => socket.destroy())
      await new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve)
        socket.once('error', reject)
        socket.once('close', () => reject(new Error('the connection was closed')))
      })
      call.connected = true
      return socket
    } finally {
      await directory?.close()
    }
  }

  async #read(response: IncomingMessage): Promise<HttpAnswer> {
    const { answerBytesMax = answerBytesMaxDefault } = this.#options
    const chunks: Buffer[] = []
    let bytes = 0
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes > answerBytesMax) throw new Error(`its answer is larger than ${answerBytesMax} bytes`)
      chunks.push(chunk)
    }
    const status = response.statusCode ?? 0
    const text = new TextDecoder('utf-8', { fatal: status < 300 }).decode(Buffer.concat(chunks))
    return { status, text, body: parsed(text, status) }
  }

  #silence(call: Call, error: unknown, what: string, timeoutMs: number): unknown {
    if (error instanceof TidegateError) return error
    const { peer } = this.#options
    const where = `${peer} at ${this.path}`
    const reason = (error instanceof Error ? error.message : String(error)).slice(0, wordsCharsMax)
    if (!call.connected && isCode(error, 'ENOENT', 'ECONNREFUSED')) {
      return new NoAnswer('gone', false, `nobody listens at ${this.path} (${peer}): ${reason}`, error)
    }
    // A full queue of connections: whoever listens is busy with others.
    if (!call.connected && isCode(error, 'EAGAIN')) {
      return new NoAnswer('still_working', false, `${where} is too busy to take ${what}`, error)
    }
    if (call.late && call.connected) {
      const message = `${where} did not answer ${what} within ${timeoutMs} ms and may still be at it`
      return new NoAnswer('still_working', true, message)
    }
    return new NoAnswer('cannot_tell', call.connected, `${where} gave no answer to ${what}: ${reason}`, error)
  }
}

/** One call's end: by its answer, its deadline or its signal, whichever is first. */
class Call {
  connected = false
  late = false
  over = false
  readonly #ended = Promise.withResolvers<never>()
  readonly #undo: (() => void)[] = []

  constructor({ timeoutMs, signal }: CallLimits, clock: Clock) {
    this.#ended.promise.catch(() => {})
    const onAbort = () => this.#stop(signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    this.#undo.push(() => signal?.removeEventListener('abort', onAbort))
    const onDeadline = () => {
      this.late = true
      this.#stop(new Error(`no connection within ${timeoutMs} ms`))
    }
    this.#undo.push(clock.after(timeoutMs, onDeadline))
  }

  run<T>(act: () => Promise<T>): Promise<T> {
    return Promise.race([act(), this.#ended.promise])
  }

  onEnd(undo: () => void): void {
    this.#undo.push(undo)
  }

  end(): void {
    this.over = true
    for (const undo of this.#undo.splice(0)) undo()
  }

  #stop(reason: unknown): void {
    this.#ended.reject(reason)
    this.end()
  }
}

function answerTo(
  method: string,
  target: string,
  content: Buffer | null,
  socket: Socket,
  call: Call,
): Promise<IncomingMessage> {
  const headers = content === null ? {} : { 'content-type': 'application/json' }
  const outgoing: ClientRequest = request({
    ...{ method, path: target, headers: { host: 'localhost', accept: 'application/json', ...headers } },
    ...{ createConnection: () => socket, maxHeaderSize: headersBytesMax, insecureHTTPParser: false },
  })
  call.onEnd(() => outgoing.destroy())
  const answer = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once('response', resolve)
    outgoing.once('upgrade', () => reject(new Error('it wants another protocol')))
    outgoing.on('error', reject)
    outgoing.once('close', () => reject(new Error('it closed the connection')))
  })
  if (content === null) outgoing.end()
  else outgoing.setHeader('content-length', content.length).end(content)
  return answer
}

function parsed(text: string, status: number): unknown {
  if (text.trim() === '') return undefined
  try {
    return JSON.parse(text)
  } catch (error) {
    if (status >= 300) return undefined
    throw new Error(`what it says is not JSON: ${text.slice(0, wordsCharsMax)}`, { cause: error })
  }
}
