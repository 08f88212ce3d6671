/** State out of the application and back into it, guest side. Decides nothing about when. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Clock } from '../clock.ts'
import type { AnyHooks } from './hooks.ts'
import type { GuestFailureCode, StateShape, TakeBackAnswer } from './protocol.ts'
import { guestLimits, isStateShape, pausedHeader, stateHeader } from './protocol.ts'

/** A failure with a row in `guestFailures`. */
export class Refusal extends Error {
  readonly code: GuestFailureCode
  constructor(code: GuestFailureCode, message: string) {
    super(message)
    this.name = 'Refusal'
    this.code = code
  }
}

/** Streams what the application's `handOver` gives. The pause is what ran without a break: the hook's call and the encoding. */
export async function handOver(hooks: AnyHooks, response: ServerResponse, clock: Clock): Promise<void> {
  if (!hooks.handOver)
    throw new Refusal('no_hook', 'the application gave no handOver hook to the guest library')
  const calledAtMs = clock.monotonic()
  const returned = hooks.handOver()
  let pausedMs = clock.monotonic() - calledAtMs
  // Awaiting what is no promise would let the application change its state before it is encoded.
  const state = isPromise(returned) ? await returned : returned
  const encodedFromMs = clock.monotonic()
  const { shape, body } = encode(state)
  pausedMs += clock.monotonic() - encodedFromMs
  response.setHeader(stateHeader, shape)
  response.setHeader(pausedHeader, pausedMs.toFixed(3))
  response.setHeader('content-type', shape === 'json' ? 'application/json' : 'application/octet-stream')
  if (body instanceof Uint8Array) {
    if (body.length > guestLimits.stateBytesMax) throw tooLarge()
    response.writeHead(200, { 'content-length': body.length })
    await pipeline(Readable.from([body]), response)
  } else {
    response.writeHead(200)
    await pipeline(bounded(body), response)
  }
}

/** Gives the state in the request's body to the application's `takeBack` and resolves when it has it. */
export async function takeBack(hooks: AnyHooks, request: IncomingMessage): Promise<TakeBackAnswer> {
  if (!hooks.takeBack)
    throw new Refusal('no_hook', 'the application gave no takeBack hook to the guest library')
  const shape = request.headers[stateHeader]
  if (!isStateShape(shape)) throw new Refusal('invalid_request', `${stateHeader}: one of json, bytes, stream`)
  if (shape === 'stream') {
    let bytes = 0
    const counted = Readable.from(
      (async function* () {
        for await (const chunk of bounded(request)) {
          bytes += chunk.length
          yield chunk
        }
      })(),
      { objectMode: false },
    )
    await hooks.takeBack(counted)
    if (!counted.readableEnded) throw new Refusal('hook_failed', 'takeBack did not read the state to its end')
    return { bytes }
  }
  const body = await readBody(request, guestLimits.stateBytesMax)
  await hooks.takeBack(shape === 'json' ? parse(body) : body)
  return { bytes: body.length }
}

/** Runs an application's hook; it rejects when that takes longer than a hook may. */
export async function withinHookTime(clock: Clock, hook: () => Promise<void>): Promise<void> {
  const late = Promise.withResolvers<never>()
  const cancel = clock.after(guestLimits.identifyHookMs, () =>
    late.reject(new Error(`it did not end within ${guestLimits.identifyHookMs} ms`)),
  )
  try {
    await Promise.race([hook(), late.promise])
  } finally {
    cancel()
  }
}

/** The whole body, refused as soon as it is longer than `bytesMax`. A body that was cut rejects. */
export async function readBody(request: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > bytesMax) throw new Refusal('too_large', `the body is larger than ${bytesMax} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

const isPromise = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'

function encode(state: unknown): { shape: StateShape; body: Uint8Array | AsyncIterable<Uint8Array> } {
  if (state instanceof Uint8Array) return { shape: 'bytes', body: state }
  if (typeof state === 'object' && state !== null && Symbol.asyncIterator in state) {
    return { shape: 'stream', body: state as AsyncIterable<Uint8Array> }
  }
  const text = JSON.stringify(state)
  if (text === undefined) throw new Refusal('hook_failed', `handOver gave ${typeof state}, which is not JSON`)
  return { shape: 'json', body: Buffer.from(text) }
}

async function* bounded(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let bytes = 0
  for await (const chunk of source) {
    bytes += chunk.length
    if (bytes > guestLimits.stateBytesMax) throw tooLarge()
    yield chunk
  }
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch (error) {
    throw new Refusal(
      'invalid_request',
      `the state is not JSON: ${error instanceof Error ? error.message : error}`,
    )
  }
}

const tooLarge = () => new Refusal('too_large', `the state is larger than ${guestLimits.stateBytesMax} bytes`)
