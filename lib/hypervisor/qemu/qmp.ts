/**
 * A client of QEMU's monitor (QMP): JSON objects, one a line, over a unix socket. Protocol: QEMU docs/interop/qmp-spec.
 * QEMU greets, wants `qmp_capabilities`, then answers commands by id and sends events in between. Every wait has a
 * deadline, and lines have a limit. What is not answered is a `NoAnswer`:
 *
 *   nobody listens ─▶ gone             no permission, cut off, nonsense, an endless line ─▶ cannot_tell
 *   no greeting, no answer, no event by the deadline, a full queue ─▶ still_working: a monitor greets one client at a time
 */
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { basename, dirname } from 'node:path'
import { StringDecoder } from 'node:string_decoder'
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import { NoAnswer } from '../no-answer.ts'
import { isCode } from '../ownership.ts'

export type Arguments = Readonly<Record<string, unknown>>

export interface QmpEvent {
  readonly event: string
  readonly data: Readonly<Record<string, unknown>>
  /** When QEMU sent it, by the host's wall clock, milliseconds. */
  readonly atMs: number
}

export interface QmpLimits {
  readonly timeoutMs: number
  readonly signal?: AbortSignal
}

export interface Command {
  readonly name: string
  readonly args: Arguments
}

const lineCharsMax = 4 * 1024 * 1024
const eventsMax = 256

interface Waiter {
  readonly accept: (message: Message) => boolean
  readonly resolve: (message: Message) => void
  readonly reject: (error: unknown) => void
}

interface Message {
  readonly QMP?: unknown
  readonly id?: unknown
  readonly return?: unknown
  readonly error?: { readonly class?: string; readonly desc?: string }
  readonly event?: string
  readonly data?: Readonly<Record<string, unknown>>
  readonly timestamp?: { readonly seconds: number; readonly microseconds: number }
}

export class Qmp {
  readonly #socket: Socket
  readonly #clock: Clock
  readonly #waiters = new Set<Waiter>()
  readonly #decoder = new StringDecoder('utf8')
  #events: QmpEvent[] = []
  #partial = ''
  /** Why nobody is heard any more. */
  #closed: string | null = null
  /** Commands have gone out. Before that, nothing that we asked can have been done. */
  #asked = false
  #lastId = 0

  private constructor(socket: Socket, clock: Clock) {
    this.#socket = socket
    this.#clock = clock
    socket.on('data', chunk => this.#receive(chunk))
    socket.on('error', error => this.#fail(error.message))
    socket.on('close', () => this.#fail('QEMU closed it'))
  }

  /** Connects and negotiates. Throws `NoAnswer`: while it does, nothing was asked. */
  static async open(path: string, clock: Clock, limits: QmpLimits): Promise<Qmp> {
    const socket = await connectUnix(path, clock, limits)
    const qmp = new Qmp(socket, clock)
    try {
      await qmp.#wait(message => message.QMP !== undefined, 'greeting', limits)
      await qmp.execute('qmp_capabilities', {}, limits)
      qmp.#asked = true
      return qmp
    } catch (error) {
      qmp.close()
      throw error
    }
  }

  /** Runs one command. Throws `hypervisor_failed` with QEMU's words when it refuses, and `NoAnswer`. */
  async execute(command: string, args: Arguments, limits: QmpLimits): Promise<unknown> {
    const id = ++this.#lastId
    const answer = this.#wait(message => message.id === id, command, limits)
    if (this.#closed === null) {
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`)
    }
    const message = await answer
    if (message.error !== undefined) {
      throw new TidegateError('hypervisor_failed', `QEMU refused ${command}: ${message.error.desc}`, {
        details: { command, class: message.error.class },
      })
    }
    return message.return
  }

  /** Runs commands one after another, sent in one piece: between them QEMU waits for nobody. Throws as `execute`. */
  async executeAll(commands: readonly Command[], limits: QmpLimits): Promise<void> {
    const answers = commands.map(({ name, args }) => this.execute(name, args, limits))
    const outcomes = await Promise.allSettled(answers)
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  }

  /** The first event since the last `forgetEvents` that `accept` takes, also one that came before the call. */
  async event(accept: (event: QmpEvent) => boolean, what: string, limits: QmpLimits): Promise<QmpEvent> {
    const past = this.#events.find(accept)
    if (past !== undefined) return past
    const matches = (message: Message) => message.event !== undefined && accept(eventOf(message))
    return eventOf(await this.#wait(matches, what, limits))
  }

  forgetEvents(): void {
    this.#events = []
  }

  close(): void {
    this.#fail('we closed it')
  }

  #wait(accept: (message: Message) => boolean, what: string, limits: QmpLimits): Promise<Message> {
    const { timeoutMs, signal } = limits
    if (this.#closed !== null) return Promise.reject(this.#goneSilent(this.#closed, false))
    if (signal?.aborted) return Promise.reject(signal.reason)
    const { promise, resolve, reject } = Promise.withResolvers<Message>()
    const waiter: Waiter = { accept, resolve, reject }
    const onAbort = () => reject(signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    const cancel = this.#clock.after(timeoutMs, () =>
      reject(
        new NoAnswer('still_working', this.#asked, `QEMU did not answer within ${timeoutMs} ms (${what})`),
      ),
    )
    this.#waiters.add(waiter)
    return promise.finally(() => {
      cancel()
      signal?.removeEventListener('abort', onAbort)
      this.#waiters.delete(waiter)
    })
  }

  #receive(chunk: Buffer): void {
    const lines = (this.#partial + this.#decoder.write(chunk)).split('\n')
    this.#partial = lines.pop() ?? ''
    for (const line of lines) if (line.trim() !== '') this.#line(line)
    if (this.#partial.length > lineCharsMax) this.#fail(`a line is longer than ${lineCharsMax} characters`)
  }

  #line(line: string): void {
    let message: Message
    try {
      message = JSON.parse(line)
    } catch {
      this.#fail('what it sends is not JSON')
      return
    }
    if (message.event !== undefined) this.#events = [...this.#events, eventOf(message)].slice(-eventsMax)
    for (const waiter of this.#waiters) if (waiter.accept(message)) waiter.resolve(message)
  }

  #fail(reason: string): void {
    this.#closed ??= reason
    this.#socket.destroy()
    for (const waiter of this.#waiters) waiter.reject(this.#goneSilent(this.#closed, this.#asked))
  }

  /** A connection that ends says nothing of the one behind it. */
  #goneSilent(reason: string, sent: boolean): NoAnswer {
    return new NoAnswer('cannot_tell', sent, `QEMU's monitor is gone: ${reason}`)
  }
}

function eventOf(message: Message): QmpEvent {
  const { seconds = 0, microseconds = 0 } = message.timestamp ?? {}
  return { event: message.event ?? '', data: message.data ?? {}, atMs: seconds * 1000 + microseconds / 1000 }
}

/**
 * Connects to a unix socket by way of an open directory (Linux), because a socket's path may have 107 bytes only and a
 * node's directory may be longer than that.
 */
async function connectUnix(path: string, clock: Clock, limits: QmpLimits): Promise<Socket> {
  let directory: FileHandle | null = null
  try {
    directory = await open(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY)
    return await connected(connect(`/proc/self/fd/${directory.fd}/${basename(path)}`), clock, limits)
  } catch (error) {
    if (limits.signal?.aborted) throw limits.signal.reason
    throw notReached(path, error)
  } finally {
    await directory?.close()
  }
}

function notReached(path: string, error: unknown): NoAnswer {
  const reason = error instanceof Error ? error.message : String(error)
  if (isCode(error, 'ENOENT', 'ECONNREFUSED')) {
    return new NoAnswer('gone', false, `nobody listens at QEMU's monitor ${path}: ${reason}`, error)
  }
  // A full queue of connections: whoever listens is busy with others.
  if (isCode(error, 'EAGAIN')) {
    return new NoAnswer('still_working', false, `QEMU's monitor ${path} is too busy to be asked`, error)
  }
  return new NoAnswer('cannot_tell', false, `cannot reach QEMU's monitor ${path}: ${reason}`, error)
}

function connected(socket: Socket, clock: Clock, { timeoutMs, signal }: QmpLimits): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>()
  const cancel = clock.after(timeoutMs, () => reject(new Error(`no connection within ${timeoutMs} ms`)))
  const onAbort = () => reject(signal?.reason)
  signal?.addEventListener('abort', onAbort, { once: true })
  socket.once('connect', () => resolve(socket))
  socket.once('error', reject)
  return promise
    .catch(error => {
      socket.destroy()
      throw error
    })
    .finally(() => {
      cancel()
      signal?.removeEventListener('abort', onAbort)
      socket.removeListener('error', reject)
    })
}
