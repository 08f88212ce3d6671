/**
 * The host side of the guest protocol, for every driver: asks one instance's agent. Each call opens its own connection,
 * has a deadline and stops at once when its signal aborts (rejecting with the signal's reason).
 * Throws `guest_unreachable` when there is no proper answer and `identity_refused` when the guest says no.
 */
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Clock } from '../clock.ts'
import { TidegateError } from '../errors.ts'
import {
  AnswerError,
  identifyAnswer,
  limitsAnswer,
  pingAnswer,
  readAnswer,
  readFailure,
  resizeAnswer,
  takeBackAnswer,
  words,
} from './answers.ts'
import type { GuestIdentity, GuestResources } from './hooks.ts'
import type {
  IdentifyAnswer,
  IdentifyRequest,
  LimitsAnswer,
  LimitsRequest,
  PingAnswer,
  ResizeAnswer,
  ResizeRequest,
  StateShape,
} from './protocol.ts'
import { guestLimits, guestPaths, isStateShape, pausedHeader, stateHeader } from './protocol.ts'

export type GuestAddress = { readonly socketPath: string } | { readonly host: string; readonly port: number }

export interface CallOptions {
  /** For the whole call, transfer included. */
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
}

/** An identity and what makes it true; units as in `IdentifyRequest`. */
export interface NewIdentity extends Omit<GuestIdentity, 'clonedFrom'> {
  readonly clonedFrom?: { readonly instanceId: string; readonly atMs: number }

  readonly entropy: string
  readonly wallClockMs: number
}

export type Limits = Omit<GuestResources, 'heapBytes'>

export interface StateReport {
  readonly shape: StateShape
  readonly bytes: number
  /** How long the application could do nothing else, as the guest measured it. */
  readonly pausedMs: number
}

export class GuestClient {
  readonly #address: GuestAddress
  readonly #token: string
  readonly #clock: Clock

  constructor(address: GuestAddress, token: string, clock: Clock) {
    this.#address = address
    this.#token = token
    this.#clock = clock
  }

  ping(options: CallOptions): Promise<PingAnswer> {
    return this.#call(options, 'GET', guestPaths.ping, async (outgoing, response) => {
      outgoing.end()
      return readAnswer(await response, 'ping', pingAnswer)
    })
  }

  /**
   * Asks for the application's state and gives it to `write` piece by piece, waiting for each. What `write` throws ends
   * the transfer and is thrown on unchanged. Resolves only when the state came whole.
   */
  handOver(write: (chunk: Uint8Array) => Promise<void>, options: CallOptions): Promise<StateReport> {
    return this.#call(options, 'POST', guestPaths.handOver, async (outgoing, response) => {
      outgoing.end()
      const head = await response
      if (head.statusCode !== 200) throw await readFailure(head)
      const shape = head.headers[stateHeader]
      const pausedMs = Number(head.headers[pausedHeader])
      if (!isStateShape(shape) || !(pausedMs >= 0)) throw new Error('its state comes without a proper head')
      let bytes = 0
      for await (const chunk of head as AsyncIterable<Buffer>) {
        bytes += chunk.length
        if (bytes > guestLimits.stateBytesMax) {
          throw new Error(`its state is larger than ${guestLimits.stateBytesMax} bytes`)
        }
        await unwrapped(write(chunk))
      }
      return { shape, bytes, pausedMs }
    })
  }

  /** Gives a state back. Resolves, with its size, when the application has taken all of it. */
  takeBack(shape: StateShape, state: Readable, options: CallOptions): Promise<number> {
    return this.#call(options, 'POST', guestPaths.takeBack, async (outgoing, response) => {
      outgoing.setHeader(stateHeader, shape)
      // When the state cannot be read, this breaks the request and with it the wait for the response.
      pipeline(state, outgoing).catch(() => {})
      const { bytes } = await readAnswer(await response, 'take_back', takeBackAnswer)
      return bytes
    })
  }

  /** Gives the instance its identity and waits until the application has heard it. */
  async identify(identity: NewIdentity, options: CallOptions): Promise<IdentifyAnswer> {
    const body: IdentifyRequest = {
      instance_id: identity.instanceId,
      incarnation: identity.incarnation,
      cluster: identity.cluster,
      reason: identity.reason,
      entropy: identity.entropy,
      wall_clock_ms: identity.wallClockMs,
      ...(identity.clonedFrom
        ? { cloned_from: { instance_id: identity.clonedFrom.instanceId, at_ms: identity.clonedFrom.atMs } }
        : {}),
    }
    const answer = await this.#call(options, 'POST', guestPaths.identify, async (outgoing, response) => {
      outgoing.end(JSON.stringify(body))
      return readAnswer(await response, 'identify', identifyAnswer)
    })
    if (answer.instance_id !== identity.instanceId || answer.incarnation !== identity.incarnation) {
      throw new TidegateError('identity_refused', `${this.#where()} acknowledged another identity`, {
        details: { asked: identity.instanceId, acknowledged: words(answer.instance_id) },
      })
    }
    return answer
  }

  /** Has the guest use `cpus` processors and all memory, of which there is to be so much; tells what it has then. */
  resize(cpus: number, memoryBytesMin: number, options: CallOptions): Promise<ResizeAnswer> {
    const body: ResizeRequest = { cpus, memory_bytes_min: memoryBytesMin }
    return this.#call(options, 'POST', guestPaths.resize, async (outgoing, response) => {
      outgoing.end(JSON.stringify(body))
      return readAnswer(await response, 'resize', resizeAnswer)
    })
  }

  /** Tells the application what it may use. */
  limits({ cpus, memoryBytes, diskBytes }: Limits, options: CallOptions): Promise<LimitsAnswer> {
    const body: LimitsRequest = { cpus, memory_bytes: memoryBytes, disk_bytes: diskBytes }
    return this.#call(options, 'POST', guestPaths.limits, async (outgoing, response) => {
      outgoing.end(JSON.stringify(body))
      return readAnswer(await response, 'limits', limitsAnswer)
    })
  }

  async #call<T>(
    options: CallOptions,
    method: 'GET' | 'POST',
    path: string,
    talk: (outgoing: ClientRequest, response: Promise<IncomingMessage>) => Promise<T>,
  ): Promise<T> {
    options.signal?.throwIfAborted()
    const outgoing = request({
      ...this.#address,
      method,
      path,
      agent: false,
      maxHeaderSize: guestLimits.headersBytesMax,
      headers: { authorization: `Bearer ${this.#token}`, host: 'guest' },
    })
    const response = responseOf(outgoing)
    const ended = Promise.withResolvers<never>()
    const end = (reason: unknown) => {
      ended.reject(reason)
      outgoing.destroy(reason instanceof Error ? reason : undefined)
    }
    const late = new TidegateError(
      'guest_unreachable',
      `${this.#where()} did not answer within ${options.timeoutMs} ms`,
    )
    const cancel = this.#clock.after(options.timeoutMs, () => end(late))
    const onAbort = () => end(options.signal?.reason)
    options.signal?.addEventListener('abort', onAbort, { once: true })
    ended.promise.catch(() => {})
    try {
      return await Promise.race([talk(outgoing, response), ended.promise])
    } catch (error) {
      // Whatever broke first, the abort or the deadline is the cause once it has come.
      if (options.signal?.aborted) throw options.signal.reason
      throw this.#explain(error)
    } finally {
      cancel()
      options.signal?.removeEventListener('abort', onAbort)
      outgoing.destroy()
    }
  }

  #explain(error: unknown): unknown {
    if (error instanceof Unchanged) return error.cause
    if (error instanceof TidegateError) return error
    if (error instanceof AnswerError) {
      const { code, message } = error
      if (code === 'identity_refused') return new TidegateError('identity_refused', message)
      return new TidegateError('guest_unreachable', `${this.#where()} said no: ${message}`, {
        details: { guest_code: code },
      })
    }
    return unreachable(this.#where(), words(error instanceof Error ? error.message : String(error)), error)
  }

  #where(): string {
    return 'socketPath' in this.#address
      ? `the guest agent on ${this.#address.socketPath}`
      : `the guest agent on ${this.#address.host}:${this.#address.port}`
  }
}

/** Carries an error of the caller's own `write` through the explanations meant for the guest's errors. */
class Unchanged extends Error {}

function unwrapped(writing: Promise<void>): Promise<void> {
  return writing.catch(error => {
    throw new Unchanged('write failed', { cause: error })
  })
}

function responseOf(outgoing: ClientRequest): Promise<IncomingMessage> {
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once('response', resolve)
    outgoing.on('error', reject)
    outgoing.once('close', () => reject(new Error('the connection was closed')))
  })
  response.catch(() => {})
  return response
}

const unreachable = (where: string, why: string, cause?: unknown) =>
  new TidegateError(
    'guest_unreachable',
    `${where} cannot be asked: ${why}`,
    cause === undefined ? {} : { cause },
  )
