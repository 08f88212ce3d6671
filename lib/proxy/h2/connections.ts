/** The HTTP/2 client connections of one listener. */
import { Deadlines } from '../deadlines.ts'
import type { Arrival } from '../entrance.ts'
import type { DataPlaneContext } from '../exchanges.ts'
import { H2Connection } from './connection.ts'

export class H2Connections {
  readonly #context: DataPlaneContext
  readonly #deadlines: Deadlines
  readonly #open = new Set<H2Connection>()
  #leaving = false

  constructor(context: DataPlaneContext) {
    this.#context = context
    this.#deadlines = new Deadlines(context.clock)
  }

  /** Requests under way. */
  get exchanges(): number {
    let streams = 0
    for (const connection of this.#open) streams += connection.streams
    return streams
  }

  accept(arrival: Arrival): void {
    if (arrival.socket.destroyed) return
    const connection = new H2Connection(arrival, {
      context: this.#context,
      deadlines: this.#deadlines,
      connections: this.#open,
    })
    if (this.#leaving) connection.leave()
  }

  /** All clients are told to begin nothing more; also those that come late. */
  leave(): void {
    this.#leaving = true
    for (const connection of [...this.#open]) connection.leave()
  }

  destroy(): void {
    for (const connection of [...this.#open]) connection.destroy()
  }
}
