/**
 * The listeners of one event loop, and how they become others while it serves.
 *
 *   open ──► serving ──► retired: accepts nobody; what is open on it goes on, each later answer ends its connection ──► gone
 *
 * A retired one is kept only so that the end of the process ends its connections too. It is forgotten when the longest time is
 * over that an idle client connection is kept.
 */
import type { Clock } from '../clock.ts'
import type { ListenerConfig } from '../config/config.ts'
import { clientKeepAliveMs } from './limits.ts'
import type { Listener } from './listener.ts'
import type { PlacedListener } from './messages.ts'

export type OpenListener = (placed: PlacedListener) => Promise<Listener>

/** A retired listener is looked at this often. */
const lookMs = 1_000

export class ListenerSet {
  readonly #clock: Clock
  readonly #open: OpenListener
  readonly #serving = new Map<number, Listener>()
  readonly #retired = new Map<Listener, () => void>()
  #stopped = false
  #turn: Promise<unknown> = Promise.resolve()

  constructor(clock: Clock, open: OpenListener) {
    this.#clock = clock
    this.#open = open
  }

  /**
   * Opens those that are not open yet, then retires those that are not named. Resolves to their real addresses, in order.
   * Rejects, with everything as it was, when one cannot be opened.
   */
  become(listeners: readonly PlacedListener[]): Promise<readonly ListenerConfig[]> {
    const became = this.#turn.then(() => this.#become(listeners))
    this.#turn = became.catch(() => {})
    return became
  }

  async #become(listeners: readonly PlacedListener[]): Promise<readonly ListenerConfig[]> {
    const opened = new Map<number, Listener>()
    try {
      for (const placed of listeners)
        if (!this.#serving.has(placed.id)) opened.set(placed.id, await this.#open(placed))
    } catch (error) {
      for (const listener of opened.values()) this.#retire(listener)
      throw error
    }
    for (const [id, listener] of opened) {
      this.#serving.set(id, listener)
      if (this.#stopped) listener.stop()
    }
    const wanted = new Set(listeners.map(({ id }) => id))
    for (const [id, listener] of [...this.#serving]) {
      if (wanted.has(id)) continue
      this.#serving.delete(id)
      this.#retire(listener)
    }
    return listeners.map(({ id, config }) => {
      const { host, port } = this.#serving.get(id)!
      return { ...config, host, port }
    })
  }

  /** There are other certificates or ticket keys. */
  renewTls(): void {
    for (const listener of this.#serving.values()) listener.renewTls()
  }

  stop(): void {
    this.#stopped = true
    for (const listener of this.#all()) listener.stop()
  }

  closeIdle(): void {
    for (const listener of this.#all()) listener.closeIdle()
  }

  destroy(): void {
    for (const listener of this.#all()) listener.destroy()
    for (const forget of this.#retired.values()) forget()
    this.#retired.clear()
  }

  #all(): readonly Listener[] {
    return [...this.#serving.values(), ...this.#retired.keys()]
  }

  #retire(listener: Listener): void {
    listener.stop()
    const retiredAt = this.#clock.monotonic()
    const forget = this.#clock.every(lookMs, () => {
      const idleOver = this.#clock.monotonic() - retiredAt > clientKeepAliveMs
      if (!idleOver || listener.exchanges() > 0) return
      forget()
      listener.closeIdle()
      this.#retired.delete(listener)
    })
    this.#retired.set(listener, forget)
  }
}
