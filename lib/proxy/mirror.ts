/**
 * Copies of requests to another cluster, whose answers nobody sees: to try a version on real traffic. A copy never holds up, fails or
 * slows the request that it is of: it is sent beside it, once, and dropped where too many are under way, here or in its cluster.
 *
 *   sent ──► answering, read and thrown away ──► over
 *     └── failed, its member cut ──────────────────▲   and an endless answer, when its room is wanted
 *
 * A body is read once, at the pace of whom it is for: a copy with one is sent when it has passed (`mirror-body.ts`), if it is not longer
 * than the route says.
 */
import type { Member } from '../cluster/member.ts'
import type { AskedFor } from './asked.ts'
import { Attempt, type AttemptOwner } from './attempt.ts'
import type { AnswerHead, ClientEnd, OutboundHead, RequestBody } from './client-end.ts'
import type { Forwards } from './forward/forward.ts'
import { type HeldBody, Tee } from './mirror-body.ts'
import { nobodyTried, type PickRequest, pick } from './pick.ts'
import type { Circuit } from './resilience/circuit.ts'
import type { MirrorPart } from './route-table.ts'

/** Copies under way on one event loop. */
const mirroredMax = 256
/** Of their bodies, on one event loop. */
const heldBytesMax = 32 * 1024 * 1024

/** What is copied. */
export interface Original {
  readonly client: ClientEnd
  readonly asked: AskedFor
  readonly request: PickRequest
  readonly body: RequestBody | null
}

/** One that is under way. */
interface Copy {
  /** The circuit that it has a place in. */
  readonly circuit: Circuit | null
  readonly heldBytes: number
}

export class Mirrors implements AttemptOwner {
  readonly #forwards: Forwards
  readonly #open = new Map<Attempt, Copy>()
  /** Those of them whose answer has begun: what they were for is done. */
  readonly #answering = new Set<Attempt>()
  #heldBytes = 0

  constructor(forwards: Forwards) {
    this.#forwards = forwards
  }

  get size(): number {
    return this.#open.size
  }

  /** Of bodies that are kept for copies. */
  get heldBytes(): number {
    return this.#heldBytes
  }

  /**
   * Sends a copy at once; or, of a request with a body, when that has passed: what is given back then is sent in the body's place.
   * `told` is called once, whether one was sent. Upgrades are not copied.
   */
  copy(to: MirrorPart | null, of: Original, told: (sent: boolean) => void): Tee | null {
    if (to === null || of.client.upgrade) return null
    if (of.body !== null) return this.#tee(to, of, of.body, told)
    told(this.#send(to, of, null))
    return null
  }

  #tee(to: MirrorPart, of: Original, body: RequestBody, told: (sent: boolean) => void): Tee {
    const give = (bytes: number) => {
      this.#heldBytes -= bytes
    }
    return new Tee(body, {
      limitBytes: to.requestBodyBytes,
      take: bytes => {
        if (this.#heldBytes + bytes > heldBytesMax) return false
        this.#heldBytes += bytes
        return true
      },
      give,
      whole: held => {
        const sent = this.#send(to, of, held)
        if (!sent) give(held.bytes)
        told(sent)
      },
      dropped: () => told(false),
    })
  }

  /** False: nothing was sent. */
  #send({ cluster }: MirrorPart, { client, asked, request }: Original, body: HeldBody | null): boolean {
    if (!this.#room()) return false
    const { nowMs } = request
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
    this.#open.set(attempt, { circuit, heldBytes: body?.bytes ?? 0 })
    const { target } = asked.line
    const head = frozen(asked.outbound(), member)
    const { timeouts } = cluster
    const copy = { member, method: client.method, target, head, body, timeouts, fresh: false }
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
    const copy = this.#open.get(attempt)
    this.#open.delete(attempt)
    this.#answering.delete(attempt)
    if (copy === undefined) return
    this.#heldBytes -= copy.heldBytes
    copy.circuit?.leave()
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
