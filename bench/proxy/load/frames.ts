/** The few WebSocket frames that the bench's two ends speak: binary messages of up to 125 bytes, in one frame each. @pure */
import { createHash } from 'node:crypto'

/** RFC 6455 §1.3. */
export function acceptKey(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
}

const binaryFinal = 0x82
const closeFinal = 0x88
/** In the first byte: Close, Ping, Pong. */
const controlBit = 0x08
const maskBit = 0x80
export const payloadBytesMax = 125

/** A frame as a client (masked) or a server sends it. */
export function frame(payload: Buffer, mask: Buffer | null): Buffer {
  if (payload.length > payloadBytesMax) throw new Error(`a payload has at most ${payloadBytesMax} bytes`)
  if (mask === null) return Buffer.concat([Buffer.of(binaryFinal, payload.length), payload])
  const masked = Buffer.from(payload)
  for (let i = 0; i < masked.length; i++) masked[i]! ^= mask[i & 3]!
  return Buffer.concat([Buffer.of(binaryFinal, payload.length | maskBit), mask, masked])
}

/** Cuts a stream into the payloads of its frames. Throws at anything but small binary messages and control frames. */
export class FrameReader {
  /** The other end said Close. */
  closed = false
  #held: Buffer = Buffer.alloc(0)

  /** The payloads that are complete with this chunk, unmasked. */
  read(chunk: Buffer): readonly Buffer[] {
    let bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk])
    const payloads: Buffer[] = []
    while (bytes.length >= 2) {
      const masked = (bytes[1]! & maskBit) !== 0
      const length = bytes[1]! & ~maskBit
      const control = (bytes[0]! & controlBit) !== 0
      if ((bytes[0] !== binaryFinal && !control) || length > payloadBytesMax)
        throw new Error(`an unexpected frame: ${bytes.subarray(0, 2).toString('hex')}`)
      const start = masked ? 6 : 2
      if (bytes.length < start + length) break
      const payload = Buffer.from(bytes.subarray(start, start + length))
      if (masked) for (let i = 0; i < length; i++) payload[i]! ^= bytes[2 + (i & 3)]!
      if (!control) payloads.push(payload)
      if (bytes[0] === closeFinal) this.closed = true
      bytes = bytes.subarray(start + length)
    }
    this.#held = bytes
    return payloads
  }
}
