/**
 * Copies of requests to another cluster, whose answers nobody sees: to try a version on real traffic. A copy never holds up, fails or
 * slows the request that it is of: it is sent beside it, once, and dropped where too many are under way, here or in its cluster.
 *
 *   sent ──► answering, read and thrown away ──► over
 *     └── failed, its member cut ──────────────────▲   and an endless answer, when its room is wanted
 *
 * Only requests without a body are copied: a body is read once, at the pace of whom it is for.
 */
import type { Member } from '../cluster/member.ts'
import type { AskedFor } from './asked.ts'
import { Attempt, type AttemptOwner } from './attempt.ts'
import type { AnswerHead, ClientEnd, OutboundHead } from './client-end.ts'
import type { Forwards } from './forward/forward.ts'
import { type PickRequest, pick } from './pick.ts'
import type { Circuit } from './resilience/circuit.ts'
import type { RouteCluster } from './route-table.ts'

/** Copies under way on one event loop. */
const mirroredMax = 256

export class Mirrors implements AttemptOwner {
  readonly #forwards: Forwards
  /** Each with the circuit that it has a place in. */
  readonly #open = new Map<Attempt, Circuit | null>()
  /** Those of them whose answer has begun: what they were for is done. */
  readonly #answering = new Set<Attempt>()

  constructor(forwards: Forwards) {
    this.#forwards = forwards
  }

  get size(): number {
    return this.#open.size
  }

  /** False: nothing was sent. */
  send(cluster: RouteCluster, client: ClientEnd, asked: AskedFor, { nowMs }: PickRequest): boolean {
    if (client.body !== null || client.upgrade || !this.#room()) return false
    const { circuit } = cluster.guard
    // It does not wait: who it is of would not either.
    if (circuit !== null && !circuit.enter()) return false
    const picked = pick(cluster, asked.forPick(cluster.affinity, nowMs), nobodyTried)
    if (picked.member === null) {
      circuit?.leave()
      return false
    }
    const { member } = picked
    const attempt = new Attempt(this, picked, untimed)
    this.#open.set(attempt, circuit)
    const { target } = asked.line
    const head = frozen(asked.outbound(), member)
    const { timeouts } = cluster
    const copy = { member, method: client.method, target, head, body: null, timeouts, fresh: false }
    attempt.send(this.#forwards.of(client, cluster), copy)
    return true
  }

  /** What is under way on a member that is about to vanish. */
  cutMember(slot: number, epoch: number): void {
    for (const attempt of [...this.#open.keys()]) {
      if (attempt.member.slot === slot && attempt.member.epoch === epoch) this.#drop(attempt)
    }
  }

  close(): void {
    for (const attempt of [...this.#open.keys()]) this.#drop(attempt)
  }

  bodyWanted(): void {}
  information(): void {}
  switched(): void {}

  answered(attempt: Attempt, { status }: AnswerHead): null {
    attempt.noteAnswer(status, unmeasured)
    this.#answering.add(attempt)
    return null
  }

  done(attempt: Attempt): void {
    this.#over(attempt)
  }

  failed(attempt: Attempt): void {
    attempt.leaveFailed('failed')
    this.#over(attempt)
  }

  /** Makes some, if it must, where an answer has begun. */
  #room(): boolean {
    if (this.#open.size < mirroredMax) return true
    const [oldest] = this.#answering
    if (oldest === undefined) return false
    this.#drop(oldest)
    return true
  }

  #drop(attempt: Attempt): void {
    attempt.giveUp()
    this.#over(attempt)
  }

  #over(attempt: Attempt): void {
    const circuit = this.#open.get(attempt)
    this.#open.delete(attempt)
    this.#answering.delete(attempt)
    circuit?.leave()
  }
}

/** The head as it is now: the client's connection may be at another request when this one is sent. */
function frozen(head: OutboundHead, member: Member): OutboundHead {
  const fields = head.fields()
  const text = head.text(member)
  return { fields: () => fields, text: () => text }
}

/** Copies say nothing of how long answers take: nobody waits for them. */
const untimed = { now: () => 0 }
const unmeasured = -1
const nobodyTried: ReadonlySet<Member> = new Set()
