/** Random trace and span ids. The system is asked for many at once: a call for each costs more than everything else about a trace. */
import { randomFillSync } from 'node:crypto'

const poolBytes = 4_096
const traceIdBytes = 16
const spanIdBytes = 8

export class TraceIds {
  readonly #pool = Buffer.alloc(poolBytes)
  #used = poolBytes

  /** 32 hexadecimal digits, not all zero. */
  trace(): string {
    return this.#hex(traceIdBytes)
  }

  /** 16, likewise. */
  span(): string {
    return this.#hex(spanIdBytes)
  }

  #hex(bytes: number): string {
    for (;;) {
      if (this.#used + bytes > poolBytes) {
        randomFillSync(this.#pool)
        this.#used = 0
      }
      const text = this.#pool.toString('hex', this.#used, this.#used + bytes)
      this.#used += bytes
      if (!/^0+$/.test(text)) return text
    }
  }
}
