/**
 * The doors and listeners of one event loop, and how they become others while it serves.
 *
 *   listener:  created ──► serving ──► retired: nobody new comes; what is open on it goes on, each later answer ends its
 *                                        connection ──► gone
 *   door:      open, its connections go to the oldest serving listener of its address ──► none is left: closed
 *
 * So a listener whose settings change is for a while two, behind one door; which of them gets a connection changes at once,
 * when the former is retired. A retired one is kept only so that the end of the process ends its connections too. It is forgotten
 * when the longest time is over that an idle client connection is kept.
 */
import type { Clock } from '../clock.ts'
import type { ListenerConfig } from '../config/config.ts'
import type { Door, Receiver } from './door.ts'
import { clientKeepAliveMs } from './limits.ts'
import type { Listener } from './listener.ts'
import type { PlacedListener } from './messages.ts'

export interface ListenerSetDeps {
  readonly clock: Clock
  /** Rejects when it cannot listen there. */
  readonly openDoor: (config: ListenerConfig, receiver: Receiver) => Promise<Door>
  /** Throws when it cannot use what the configuration names. */
  readonly create: (config: ListenerConfig) => Listener
}

interface Serving {
  readonly door: number
  readonly listener: Listener
}

/** A retired listener is looked at this often. */
const lookMs = 1_000

export class ListenerSet {
  readonly #deps: ListenerSetDeps
  readonly #doors = new Map<number, Door>()
  /** Nobody's any more; those who wait there are let in yet. */
  readonly #closing = new Set<Door>()
  /** The oldest first. */
  readonly #serving = new Map<number, Serving>()
  readonly #retired = new Map<Listener, () => void>()
  #stopped = false
  #turn: Promise<unknown> = Promise.resolve()

  constructor(deps: ListenerSetDeps) {
    this.#deps = deps
  }

  /**
   * Adds those that are not there yet, then retires those that are not named. Resolves to their real addresses, in order.
   * Rejects, with everything as it was, when one cannot be opened.
   */
  become(listeners: readonly PlacedListener[]): Promise<readonly ListenerConfig[]> {
    const became = this.#turn.then(() => this.#become(listeners))
    this.#turn = became.catch(() => {})
    return became
  }

  async #become(listeners: readonly PlacedListener[]): Promise<readonly ListenerConfig[]> {
    const fresh = listeners.filter(({ id }) => !this.#serving.has(id))
    const { doors, created } = await this.#open(fresh)
    for (const [id, door] of doors) this.#doors.set(id, door)
    for (const [id, one] of created) {
      this.#serving.set(id, one)
      if (this.#stopped) one.listener.stop()
    }
    const wanted = new Set(listeners.map(({ id }) => id))
    for (const [id, { listener }] of [...this.#serving]) {
      if (wanted.has(id)) continue
      this.#serving.delete(id)
      this.#retire(listener)
    }
    const real = listeners.map(({ door, config }) => {
      const { host, port } = this.#doors.get(door)!
      return { ...config, host, port }
    })
    await this.#handOver()
    return real
  }

  /** All of them, or none. */
  async #open(fresh: readonly PlacedListener[]) {
    const doors = new Map<number, Door>()
    const created = new Map<number, Serving>()
    try {
      for (const { id, door, config } of fresh) {
        const listener = this.#deps.create(config)
        created.set(id, { door, listener })
        if (this.#doors.has(door)) continue
        doors.set(door, await this.#deps.openDoor(config, listener.accept))
      }
    } catch (error) {
      for (const door of doors.values()) door.abandon()
      for (const { listener } of created.values()) this.#retire(listener)
      throw error
    }
    return { doors, created }
  }

  async #handOver(): Promise<void> {
    const receivers = new Map<number, Listener>()
    for (const { door, listener } of this.#serving.values())
      if (!receivers.has(door)) receivers.set(door, listener)
    const closing: Promise<void>[] = []
    for (const [id, door] of [...this.#doors]) {
      const listener = receivers.get(id)
      if (listener !== undefined) door.handTo(listener.accept)
      if (listener === undefined || this.#stopped) closing.push(this.#close(id, door))
    }
    await Promise.all(closing)
  }

  #close(id: number, door: Door): Promise<void> {
    this.#doors.delete(id)
    this.#closing.add(door)
    return door.close().finally(() => this.#closing.delete(door))
  }

  /** There are other certificates or ticket keys. */
  renewTls(): void {
    for (const { listener } of this.#serving.values()) listener.renewTls()
  }

  /** Resolves when nobody can come any more. */
  async stop(): Promise<void> {
    this.#stopped = true
    for (const listener of this.#all()) listener.stop()
    await Promise.all([...this.#doors].map(([id, door]) => this.#close(id, door)))
  }

  closeIdle(): void {
    for (const listener of this.#all()) listener.closeIdle()
  }

  destroy(): void {
    for (const door of [...this.#doors.values(), ...this.#closing]) door.abandon()
    this.#doors.clear()
    for (const listener of this.#all()) listener.destroy()
    for (const forget of this.#retired.values()) forget()
    this.#retired.clear()
  }

  #all(): readonly Listener[] {
    const serving = [...this.#serving.values()].map(({ listener }) => listener)
    return [...serving, ...this.#retired.keys()]
  }

  #retire(listener: Listener): void {
    listener.stop()
    const { clock } = this.#deps
    const retiredAt = clock.monotonic()
    const forget = clock.every(lookMs, () => {
      const idleOver = clock.monotonic() - retiredAt > clientKeepAliveMs
      if (!idleOver || listener.exchanges() > 0) return
      forget()
      listener.closeIdle()
      this.#retired.delete(listener)
    })
    this.#retired.set(listener, forget)
  }
}
