/** The connections to one member: those that lie idle, newest first, a bound on all of them, and a line of those who wait for one. */
import type { ErrorCode } from '../../../errors.ts'
import type { Deadlines, Timed } from '../../deadlines.ts'
import {
  connectionsPerMemberMax,
  pooledIdleMs,
  pooledMarginMs,
  pooledPerMemberMax,
  waitingPerMemberMax,
} from '../../limits.ts'
import { Roster } from '../../roster.ts'
import type { BackendConnection } from './backend-connection.ts'
import type { RelayCall } from './call.ts'

export class MemberPool {
  readonly #open: (pool: MemberPool) => BackendConnection
  readonly #deadlines: Deadlines
  readonly #idle: BackendConnection[] = []
  readonly #all = new Roster<BackendConnection>()
  readonly #waiting = new Set<Waiter>()
  #forgotten = false

  constructor(open: (pool: MemberPool) => BackendConnection, deadlines: Deadlines) {
    this.#open = open
    this.#deadlines = deadlines
  }

  /** Gives the call a connection now, or as soon as there is one. */
  serve(call: RelayCall): void {
    if (!call.fresh) {
      for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
        if (idle.socket.destroyed || !idle.socket.writable) continue
        call.begin(idle)
        return
      }
    }
    if (this.#all.size < connectionsPerMemberMax) return this.#make(call)
    if (this.#waiting.size >= waitingPerMemberMax) return call.fail('upstream_connect_timeout')
    const waiter = new Waiter(call, this.#deadlines, () => this.#waiting.delete(waiter))
    this.#waiting.add(waiter)
  }

  /** `keepsMs`: how long the backend keeps it, by its own word. */
  giveBack(connection: BackendConnection, keepsMs: number): void {
    const idleMs = Math.min(pooledIdleMs, keepsMs - pooledMarginMs)
    if (idleMs <= 0) return connection.destroy()
    const [next] = this.#waiting
    if (next !== undefined && !this.#forgotten) return next.proceed(call => call.begin(connection))
    if (this.#forgotten || this.#idle.length >= pooledPerMemberMax) return connection.destroy()
    connection.deadlineMs = this.#deadlines.in(idleMs)
    this.#idle.push(connection)
  }

  gone(connection: BackendConnection): void {
    if (!this.#all.remove(connection)) return
    const at = this.#idle.indexOf(connection)
    if (at >= 0) this.#idle.splice(at, 1)
    const [next] = this.#waiting
    next?.proceed(call => this.#make(call))
  }

  /** Closes what is idle now, and what is in use as soon as it is given back. */
  forget(): void {
    this.#forgotten = true
    for (const connection of this.#idle.splice(0)) connection.destroy()
  }

  close(): void {
    this.#forgotten = true
    for (const waiter of [...this.#waiting]) waiter.proceed(call => call.fail('upstream_connect_failed'))
    for (const connection of this.#all) connection.socket.destroy()
  }

  #make(call: RelayCall): void {
    const connection = this.#open(this)
    this.#all.add(connection)
    call.begin(connection)
  }
}

/** A call in the line; its time to connect runs already. */
class Waiter implements Timed {
  timedAt = -1
  deadlineMs: number
  readonly #call: RelayCall
  readonly #deadlines: Deadlines
  readonly #leave: () => void

  constructor(call: RelayCall, deadlines: Deadlines, leave: () => void) {
    this.#call = call
    this.#deadlines = deadlines
    this.#leave = leave
    deadlines.add(this)
    this.deadlineMs = deadlines.in(call.connectMs())
    call.onAbort = () => this.#gone()
  }

  onDeadline(): void {
    const late: ErrorCode = 'upstream_connect_timeout'
    this.#call.fail(late)
  }

  proceed(act: (call: RelayCall) => void): void {
    this.#gone()
    act(this.#call)
  }

  #gone(): void {
    this.#deadlines.remove(this)
    this.#leave()
  }
}
