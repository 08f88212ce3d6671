/**
 * One sending of a request to one member: it entered the member and leaves it exactly once, whatever becomes of it. What that means
 * for the client is its owner's to say; there may be two at once (hedging), and one whose answer nobody sees (mirroring).
 *
 *   sent ──► answering ──► done
 *     │          └───────► failed          left: the member is not counted on any more
 *     └──► failed · switched · given up
 */
import { Writable } from 'node:stream'
import type { Member, MemberOutcome } from '../cluster/member.ts'
import type { ErrorCode } from '../errors.ts'
import type { AnswerBody, AnswerHead } from './client-end.ts'
import type { Forward, ForwardCall, ForwardEvents, ForwardRequest } from './forward/forward.ts'
import type { AttemptSpan as Span } from './observe/exchange-trace.ts'
import type { Picked } from './pick.ts'
import type { Failure } from './retry.ts'
import type { Tunnel } from './tunnel.ts'

/** What comes of an attempt, told to who made it. */
export interface AttemptOwner {
  bodyWanted(attempt: Attempt): void
  information(attempt: Attempt, head: AnswerHead): void
  /** Null: the answer is not wanted; what still comes of it is thrown away. */
  answered(attempt: Attempt, head: AnswerHead): AnswerBody | null
  done(attempt: Attempt, trailers: readonly string[]): void
  switched(attempt: Attempt, head: AnswerHead): void
  failed(attempt: Attempt, failure: Failure): void
}

export class Attempt implements ForwardEvents {
  readonly picked: Picked
  /** For an upgrade. */
  tunnel: Tunnel | null = null
  /** `TurnClock` time. */
  readonly sentMs: number
  /** The attempt in its trace, if it is in one. */
  span: Span | null = null
  /** It was given up before its connection stood. */
  neverConnected = false
  readonly #owner: AttemptOwner
  readonly #turns: { now(): number }
  #call: ForwardCall | null = null
  #entered = true
  #over = false
  #status = 0
  #latencyMs = -1

  /** `picked.member` has been entered. */
  constructor(owner: AttemptOwner, picked: Picked, turns: { now(): number }) {
    this.#owner = owner
    this.picked = picked
    this.#turns = turns
    this.sentMs = turns.now()
  }

  get member(): Member {
    return this.picked.member
  }

  /** It is under way on this member. */
  isOn(slot: number, epoch: number): boolean {
    return !this.#over && this.member.slot === slot && this.member.epoch === epoch
  }

  send(forward: Forward, request: ForwardRequest): void {
    const { tunnel } = this
    const call = tunnel === null ? forward.send(request, this) : forward.upgrade(request, tunnel, this)
    // A body that is none may have ended it while it was being sent.
    if (this.#over) call.abort()
    else this.#call = call
  }

  /** Nobody wants it any more; it says nothing of the member unless told otherwise. */
  giveUp(outcome: MemberOutcome = 'aborted'): void {
    if (this.#over) return
    this.#over = true
    this.neverConnected = this.#call?.connecting ?? false
    this.#call?.abort()
    this.#endSpan(null)
    this.#leave(outcome)
  }

  /** The head of the answer is here. `nowMs`: as `sentMs`. */
  noteAnswer(status: number, nowMs: number): void {
    this.#status = status
    this.#latencyMs = nowMs - this.sentMs
  }

  bodyWanted(): void {
    if (!this.#over) this.#owner.bodyWanted(this)
  }

  information(head: AnswerHead): void {
    if (!this.#over) this.#owner.information(this, head)
  }

  response(head: AnswerHead): AnswerBody {
    return (this.#over ? null : this.#owner.answered(this, head)) ?? nowhere
  }

  done(trailers: readonly string[]): void {
    if (this.#over) return
    this.#over = true
    // The member's part is over; how fast the client reads the rest is not its concern.
    this.#endSpan(null)
    this.#leave(this.#status >= 500 ? 'server_error' : 'ok')
    this.#owner.done(this, trailers)
  }

  /** From here on the tunnel is what is counted on the member. */
  switched(head: AnswerHead): void {
    if (this.#over) return
    this.#over = true
    this.#entered = false
    this.#owner.switched(this, head)
  }

  failed(failure: Failure): void {
    if (this.#over) return
    this.#over = true
    this.#endSpan(failure.code)
    this.#owner.failed(this, failure)
  }

  /** After `failed`: what that says of the member. */
  leaveFailed(outcome: MemberOutcome): void {
    this.#leave(outcome)
  }

  #endSpan(error: ErrorCode | null): void {
    const { span } = this
    if (span === null) return
    span.status = this.#status
    span.error = error
    span.endMs = this.#turns.now()
  }

  #leave(outcome: MemberOutcome): void {
    if (!this.#entered) return
    this.#entered = false
    this.member.leave(outcome, this.#latencyMs)
  }
}

/** Where an answer goes that nobody wants. */
const nowhere: AnswerBody = {
  write: () => true,
  flush: () => {},
  onRoom: () => {},
  stream: () => new Writable({ write: (_bytes, _encoding, done) => done() }),
}
