/** The HTTP/2 connections to one member, and the line of those who wait for room on one. */
import { connect, type Socket } from 'node:net'
import type { Member } from '../../../cluster/member.ts'
import type { Deadlines, Timed } from '../../deadlines.ts'
import { waitingPerMemberMax } from '../../limits.ts'
import type { TlsHolder } from '../../tls/holder.ts'
import { BackendSession, type SessionOwner } from './session.ts'

/** One is enough where the backend takes many streams; a backend that takes few gets more connections, up to here. */
export const sessionsPerMemberMax = 32

/** A request that wants a stream. */
export interface StreamSeeker {
  /** Not on a connection that was used before. */
  readonly fresh: boolean
  readonly connectMs: number
  /** It goes on that one. `enter` has been called for it. */
  begin(session: BackendSession): void
  /** There was no room in time. */
  late(): void
}

export class MemberSessions implements SessionOwner {
  readonly #member: Member
  readonly #deadlines: Deadlines
  readonly #tls: TlsHolder | undefined
  readonly #sessions = new Set<BackendSession>()
  readonly #waiting = new Set<Waiter>()
  #forgotten = false

  constructor(member: Member, deadlines: Deadlines, tls: TlsHolder | undefined) {
    this.#member = member
    this.#deadlines = deadlines
    this.#tls = tls
  }

  /** Gives it a session now or as soon as there is room. Returns the way out of the line. */
  seek(seeker: StreamSeeker): () => void {
    const session = this.#choose(seeker.fresh)
    if (session !== null) {
      session.enter()
      seeker.begin(session)
      return nothing
    }
    if (this.#waiting.size >= waitingPerMemberMax) {
      seeker.late()
      return nothing
    }
    const waiter = new Waiter(seeker, this.#deadlines, () => this.#waiting.delete(waiter))
    this.#waiting.add(waiter)
    return () => waiter.leave()
  }

  roomier(): void {
    for (const waiter of this.#waiting) {
      let session: BackendSession | null = null
      try {
        session = this.#choose(waiter.seeker.fresh)
      } catch {
        // No connection can be made at all: those in the line are told when their time is over.
      }
      if (session === null) return
      waiter.leave()
      session.enter()
      waiter.seeker.begin(session)
    }
  }

  gone(session: BackendSession): void {
    this.#sessions.delete(session)
    this.roomier()
  }

  /** What is under way goes on; nothing new begins. */
  forget(): void {
    this.#forgotten = true
    for (const session of [...this.#sessions]) session.retire()
  }

  close(): void {
    this.#forgotten = true
    for (const waiter of [...this.#waiting]) waiter.onDeadline()
    for (const session of [...this.#sessions]) session.destroy()
  }

  /** The fullest that has room, so that what is not needed falls idle; a new one where none has. */
  #choose(fresh: boolean): BackendSession | null {
    let best: BackendSession | null = null
    for (const session of this.#sessions) {
      if (session.room <= 0 || (fresh && session.used)) continue
      if (best === null || session.room < best.room) best = session
    }
    if (best !== null) return best
    // A forgotten member is served to the end of what it was given, retries on a connection of its own included.
    if (this.#sessions.size >= sessionsPerMemberMax) return null
    return this.#open()
  }

  #open(): BackendSession {
    const session = new BackendSession(this.#connect(), this, this.#deadlines, this.#member.tls !== null)
    this.#sessions.add(session)
    if (this.#forgotten) session.whenSettled(() => session.retire())
    return session
  }

  #connect(): Socket {
    const { host, port, tls } = this.#member
    if (tls === null) return connect({ host, port, noDelay: true })
    return this.#tls!.upstream(tls).connect(this.#member, 'h2')
  }
}

/** A seeker in the line; its time to connect runs already. */
class Waiter implements Timed {
  timedAt = -1
  readonly seeker: StreamSeeker
  deadlineMs: number
  readonly #deadlines: Deadlines
  readonly #left: () => void

  constructor(seeker: StreamSeeker, deadlines: Deadlines, left: () => void) {
    this.seeker = seeker
    this.#deadlines = deadlines
    this.#left = left
    deadlines.add(this)
    this.deadlineMs = deadlines.in(seeker.connectMs)
  }

  leave(): void {
    this.#deadlines.remove(this)
    this.#left()
  }

  onDeadline(): void {
    this.leave()
    this.seeker.late()
  }
}

const nothing = () => {}
