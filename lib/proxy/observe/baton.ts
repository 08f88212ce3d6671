/**
 * A baton in shared memory that at most one thread has. It is never waited for: who does not get it comes back later.
 *
 *   free ──take()──► had by a thread ──give(), or control gives it for a thread that died──► free
 */
export class Baton {
  readonly #words: Int32Array
  readonly #word: number
  /** 0 is free. */
  readonly #name: number

  constructor(words: Int32Array, word: number, thread: number) {
    this.#words = words
    this.#word = word
    this.#name = thread + 1
  }

  take(): boolean {
    return Atomics.compareExchange(this.#words, this.#word, 0, this.#name) === 0
  }

  /** Harmless for who does not have it. */
  give(): void {
    Atomics.compareExchange(this.#words, this.#word, this.#name, 0)
  }
}
