/**
 * HalfSipHash-2-4 with 64 bits of output (Aumasson and Bernstein's SipHash on 32-bit words): a hash that nobody can aim without the key.
 * @pure
 *
 * It decides which cells of a shared table a client uses. Were it known, a client could look for a name that falls on another's cells and
 * have that one refused. Works on text as it comes from the wire, one byte a character, and allocates nothing.
 */

/** What is looked at of a text. */
const charsMax = 1_024

export class KeyedHash {
  readonly #key0: number
  readonly #key1: number
  #v0 = 0
  #v1 = 0
  #v2 = 0
  #v3 = 0
  /** The two halves of the newest result. */
  low = 0
  high = 0

  /** `key`: 8 bytes. */
  constructor(key: Uint8Array) {
    const view = new DataView(key.buffer, key.byteOffset, key.byteLength)
    this.#key0 = view.getInt32(0, true)
    this.#key1 = view.getInt32(4, true)
  }

  /** Leaves the hash of `text` in `low` and `high`. */
  of(text: string): void {
    const length = Math.min(text.length, charsMax)
    this.#v0 = this.#key0
    this.#v1 = this.#key1 ^ 0xee
    this.#v2 = 0x6c796765 ^ this.#key0
    this.#v3 = 0x74656462 ^ this.#key1
    const whole = length & ~3
    for (let at = 0; at < whole; at += 4) this.#word(wordAt(text, at, 4))
    this.#word(wordAt(text, whole, length - whole) | (text.length << 24))
    this.#v2 ^= 0xee
    this.#rounds(4)
    this.low = this.#v1 ^ this.#v3
    this.#v1 ^= 0xdd
    this.#rounds(4)
    this.high = this.#v1 ^ this.#v3
  }

  #word(word: number): void {
    this.#v3 ^= word
    this.#rounds(2)
    this.#v0 ^= word
  }

  #rounds(count: number): void {
    let v0 = this.#v0
    let v1 = this.#v1
    let v2 = this.#v2
    let v3 = this.#v3
    for (let i = 0; i < count; i++) {
      v0 = (v0 + v1) | 0
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0
      v0 = (v0 << 16) | (v0 >>> 16)
      v2 = (v2 + v3) | 0
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2
      v0 = (v0 + v3) | 0
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0
      v2 = (v2 + v1) | 0
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2
      v2 = (v2 << 16) | (v2 >>> 16)
    }
    this.#v0 = v0
    this.#v1 = v1
    this.#v2 = v2
    this.#v3 = v3
  }
}

function wordAt(text: string, at: number, count: number): number {
  let word = 0
  for (let i = 0; i < count; i++) word |= (text.charCodeAt(at + i) & 0xff) << (8 * i)
  return word
}
