/**
 * Where WebSocket frames end (RFC 6455 §5.2), and how a Close frame is put between two of them. @pure
 * It counts bytes and keeps none: 14 bytes of a frame's head and one number, whatever is sent. Payloads are never looked at, nor
 * unmasked, nor checked: that is for the two ends.
 */

/** Follows one direction of a tunnel. Feed it every byte in order. */
export class FrameTracker {
  readonly #head = new Uint8Array(14)
  #headBytes = 0
  /** Payload bytes still to come; `Infinity` for a length no number can hold. */
  #payloadBytes = 0
  #opcode = 0
  #closeSeen = false

  /** Between two frames: here, and only here, a frame of ours may be inserted, even inside a fragmented message (§5.4). */
  get atBoundary(): boolean {
    return this.#headBytes === 0 && this.#payloadBytes === 0
  }

  /** A whole Close frame has passed. */
  get closeSeen(): boolean {
    return this.#closeSeen
  }

  /** Takes all of `chunk`. */
  feed(chunk: Uint8Array, from = 0): void {
    let at = from
    while (at < chunk.length) at = this.#frame(chunk, at)
  }

  /** Takes `chunk` up to the next end of a frame and returns how much that was; -1: it took all, still inside a frame. */
  feedToBoundary(chunk: Uint8Array): number {
    const at = this.#frame(chunk, 0)
    return this.atBoundary ? at : -1
  }

  /** Takes bytes of at most one frame; returns where it stopped. */
  #frame(chunk: Uint8Array, from: number): number {
    let at = from
    while (this.#payloadBytes === 0 && at < chunk.length) {
      this.#head[this.#headBytes++] = chunk[at++]!
      if (this.#headBytes < 2 || this.#headBytes < this.#headLength()) continue
      this.#payloadBytes = this.#payloadLength()
      this.#opcode = this.#head[0]! & 0x0f
      this.#headBytes = 0
      if (this.#payloadBytes === 0) return this.#ended(at)
    }
    const step = Math.min(this.#payloadBytes, chunk.length - at)
    if (step === 0) return at
    this.#payloadBytes -= step
    return this.#payloadBytes === 0 ? this.#ended(at + step) : at + step
  }

  #ended(at: number): number {
    if (this.#opcode === 8) this.#closeSeen = true
    return at
  }

  #headLength(): number {
    const second = this.#head[1]!
    const length = second & 0x7f
    return 2 + (length === 126 ? 2 : length === 127 ? 8 : 0) + (second & 0x80 ? 4 : 0)
  }

  #payloadLength(): number {
    const head = this.#head
    const length = head[1]! & 0x7f
    if (length < 126) return length
    if (length === 126) return head[2]! * 256 + head[3]!
    let value = 0
    for (let i = 2; i < 10; i++) value = value * 256 + head[i]!
    return Number.isSafeInteger(value) ? value : Number.POSITIVE_INFINITY
  }
}

/**
 * One direction of a tunnel that may be told to close.
 *
 *            tell(), inside a frame                 end of that frame
 *   open ───────────────────────────► telling ───────────────────────────► told
 *     └────── tell(), at a boundary, or the sender has closed already ──────▲
 *
 * Once told, what the sender still sends is dropped, but followed: its own Close is the answer that ends the wait.
 */
export class CloseInjector {
  readonly #tracker = new FrameTracker()
  #phase: 'open' | 'telling' | 'told' = 'open'
  #frame: Uint8Array | null = null

  get told(): boolean {
    return this.#phase === 'told'
  }

  /** The sender of this direction has sent its Close frame. */
  get closeSeen(): boolean {
    return this.#tracker.closeSeen
  }

  /** Asks for `frame` at the next boundary. Returns what must be sent now, or null. */
  tell(frame: Uint8Array): Uint8Array | null {
    if (this.#phase !== 'open') return null
    if (this.#tracker.closeSeen) {
      this.#phase = 'told'
      return null
    }
    if (this.#tracker.atBoundary) {
      this.#phase = 'told'
      return frame
    }
    this.#phase = 'telling'
    this.#frame = frame
    return null
  }

  /** The sender sent `chunk`: what of it, and of ours, goes on to the receiver. Null: nothing. */
  pass(chunk: Uint8Array): Uint8Array | null {
    if (this.#phase === 'open') {
      this.#tracker.feed(chunk)
      return chunk
    }
    if (this.#phase === 'told') {
      this.#tracker.feed(chunk)
      return null
    }
    const at = this.#tracker.feedToBoundary(chunk)
    if (at === -1) return chunk
    this.#phase = 'told'
    const last = chunk.subarray(0, at)
    const alreadyClosed = this.#tracker.closeSeen
    this.#tracker.feed(chunk, at)
    return alreadyClosed ? last : joined(last, this.#frame!)
  }
}

/** A Close frame. `mask`: four bytes for the direction client to server, null for the other (RFC 6455 §5.1). */
export function closeFrame(code: number, reason: string, mask: Uint8Array | null): Uint8Array {
  const text = utf8Prefix(reason, 123)
  const payload = new Uint8Array(2 + text.length)
  payload[0] = code >> 8
  payload[1] = code & 0xff
  payload.set(text, 2)
  const head = mask === null ? [0x88, payload.length] : [0x88, 0x80 | payload.length, ...mask]
  if (mask !== null) for (let i = 0; i < payload.length; i++) payload[i] = payload[i]! ^ mask[i & 3]!
  return joined(Uint8Array.from(head), payload)
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.length + b.length)
  out.set(a)
  out.set(b, a.length)
  return out
}

/** At most `bytesMax` bytes of UTF-8, never half a character. */
function utf8Prefix(text: string, bytesMax: number): Uint8Array {
  const out = new Uint8Array(bytesMax)
  return out.subarray(0, new TextEncoder().encodeInto(text, out).written)
}
