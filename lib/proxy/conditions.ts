/** Who waits until something is so: asked again whenever something has changed, and given up after a time. */
import type { Clock } from '../clock.ts'

export class Conditions {
  readonly #clock: Clock
  readonly #waiters = new Set<() => void>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Resolves true as soon as `condition` holds (asked again at every `changed`), false after `limitMs`. */
  until(condition: () => boolean, limitMs: number): Promise<boolean> {
    if (condition()) return Promise.resolve(true)
    return new Promise(resolve => {
      const finish = (value: boolean) => {
        this.#waiters.delete(check)
        cancel()
        resolve(value)
      }
      const check = () => {
        if (condition()) finish(true)
      }
      const cancel = this.#clock.after(limitMs, () => finish(false))
      this.#waiters.add(check)
    })
  }

  changed(): void {
    for (const check of [...this.#waiters]) check()
  }
}
