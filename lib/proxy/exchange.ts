/**
 * The life of one exchange, from the request's head to the last byte of its answer, or to the tunnel it becomes. Every way
 * through it leaves the member it entered, and the circuit, exactly once.
 *
 *   begin ─► route ─► gate ─► place ─► try ─► answer ─► over
 *     │        │       │       │ ▲      │ │     └ backend breaks: the client's connection breaks too, never a silent end
 *     ▼        ▼       ▼       ▼ └ full ┘ ▼
 *    400      404   413 429   503       failed ── retry allowed ──► try (another member, or a fresh connection)
 *                                         └────── not allowed ──► 502, 504 …
 *
 * `gate`: what the cluster's limits say of this request by itself. `place`: room in the cluster, at once or after a wait.
 * `full`: there is room in the cluster, and none on a member that would do.
 */
import type { Member } from '../cluster/member.ts'
import { type ErrorCode, errorTable } from '../errors.ts'
import { AskedFor } from './asked.ts'
import { Attempt, type AttemptOwner } from './attempt.ts'
import { Attempts } from './attempts.ts'
import type { AnswerBody, AnswerHead, ClientEnd, RequestBody } from './client-end.ts'
import { type DataPlaneContext, extrasOf, type Fields } from './exchanges.ts'
import type { Tee } from './mirror-body.ts'
import { nobodyTried, othersServe, type Picked, type PickRequest, pick } from './pick.ts'
import { Places } from './places.ts'
import { refusedAtOnce } from './resilience/at-once.ts'
import { bodyWithin } from './resilience/body-limit.ts'
import type { CircuitClient, CircuitRefusal } from './resilience/circuit.ts'
import type { HedgeClient } from './resilience/hedge.ts'
import { afterAnswer, afterFailure, type Sending, timeoutsFor } from './resilience/repeat.ts'
import { type Failure, neverSent, type RetryVerdict, retryPauseMs } from './retry.ts'
import type { Listed } from './roster.ts'
import type { MatchedRoute, RouteCluster } from './route-table.ts'
import { clusterFor, fallbackOf, mirrorOf } from './split.ts'
import { Telling } from './telling.ts'
import { type WakeClient, waits } from './waking.ts'

export class Exchange implements AttemptOwner, CircuitClient, HedgeClient, Listed, WakeClient {
  listedAt = -1
  readonly #context: DataPlaneContext
  readonly #client: ClientEnd
  readonly #told: Telling
  readonly #places = new Places()
  readonly #attempts = new Attempts()
  #asked: AskedFor | null = null
  #route: MatchedRoute | null = null
  #cluster: RouteCluster | null = null
  #body: RequestBody | null = null
  #tee: Tee | null = null
  #tried: Set<Member> | null = null
  #passedOver: Set<string> | null = null
  #cancelPause: (() => void) | null = null
  #lastFailure: ErrorCode | null = null
  /** Something of the request may have reached a backend. */
  #sent = false
  #wasCut = false
  #over = false

  constructor(context: DataPlaneContext, client: ClientEnd) {
    this.#context = context
    this.#client = client
    this.#told = new Telling(context.observer)
    context.exchanges.add(this)
  }

  /** Never throws: a fault of our own becomes a 500 and a line in the log. */
  begin(): void {
    this.#guarded(() => this.#begin())
  }

  /** The member is about to vanish. */
  cut(slot: number, epoch: number): void {
    const cut = this.#attempts.cut(slot, epoch)
    if (cut === 'some') this.#places.leaveAllButOne()
    if (cut === 'all') this.#cutOff('upstream_reset')
  }

  /** The process ends: for those that were sent to nobody yet, or for the others. */
  stop(unsent: boolean): void {
    if (unsent !== this.#told.record.attempts > 0) this.#cutOff(unsent ? 'shutting_down' : 'upstream_reset')
  }

  #cutOff(code: ErrorCode): void {
    this.#wasCut = true
    this.#quit(code)
  }

  // What the client's end reports.

  /** The answer has gone out (`sent`), or the client has: comes once, whatever happens. */
  closed(sent: boolean): void {
    if (!sent && this.#told.record.error === null) this.#told.failed('client_closed', this.#client)
    this.#end()
  }

  /** What the client sends is no request body, or too much of one. */
  clientFault(code: ErrorCode, reason: string | null): void {
    if (!this.#over) this.#quit(code, reason, true)
  }

  // The way to a member.

  #begin(): void {
    const { line } = this.#client
    if (this.#context.overload.shed()) return this.#refuse('overloaded', null, true)
    if (line.fault !== null) return this.#refuse('bad_request', line.fault, true)
    this.#asked = new AskedFor(this.#client, line, this.#context.trustedProxies)
    this.#told.asked(this.#client, this.#asked)
    if (!this.#match(this.#asked)) return this.#refuse('no_route', null)
    this.#gate()
  }

  #gate(): void {
    const { guard } = this.#cluster!
    const refused = refusedAtOnce(guard, this.#asked!, this.#nowMs())
    if (refused !== null)
      return this.#refuse(refused.code, null, refused.code === 'payload_too_large', refused.fields)
    this.#body = bodyWithin(this.#client, guard.limits.requestBodyBytes, this)
    guard.budget?.note(this.#nowMs())
    this.#placed(this.#places.enter(guard.circuit, this))
  }

  #placed(place: 'entered' | 'waits' | CircuitRefusal): void {
    if (place === 'entered') this.#tryOrWait(false)
    else if (place === 'waits') this.#told.phase = 'queue'
    else if (!this.#fallsBack()) this.#refuse(place, null)
  }

  /** Another cluster of the split takes it, as if it had been chosen at first. */
  #fallsBack(): boolean {
    const route = this.#route!
    this.#passedOver = new Set(this.#passedOver).add(this.#cluster!.id)
    const request = this.#forPick(route.cluster)
    const next = this.#sent ? null : fallbackOf(route, this.#passedOver, request, this.#context.random)
    if (next === null) return false
    this.#places.leave()
    this.#told.passedOn(next, route.path)
    this.#cluster = next
    this.#gate()
    return true
  }

  #match(asked: AskedFor): boolean {
    const { hostname, path } = asked.line
    const route = this.#context.table().matchRoute(hostname, path)
    if (route === null) return false
    this.#route = route
    this.#cluster = clusterFor(route, this.#cluster, asked, this.#context)
    this.#told.routed(this.#cluster, route.path)
    return true
  }

  /** A place is held for it (CircuitClient). The table that it came with may be an old one by now. */
  admitted(): boolean {
    let goes = true
    this.#places.admitted()
    this.#guarded(() => {
      if (this.#match(this.#asked!)) goes = this.#try(false)
      else this.#refuse('no_route', null)
    })
    if (!goes) this.#places.waitOn()
    return goes
  }

  refused(code: 'queue_timeout'): void {
    this.#places.refused()
    this.#refuse(code, null)
  }

  #tryOrWait(fresh: boolean): void {
    if (!this.#try(fresh)) this.#placed(this.#places.waitForMember(this))
  }

  /** False: every member that would do is full, and it may wait for one. */
  #try(fresh: boolean): boolean {
    const asked = this.#forPick(this.#cluster!)
    const picked = pick(this.#cluster!, asked, this.#tried ?? nobodyTried)
    if (picked.member === null) {
      if (picked.full && !this.#sent) return false
      const { wake } = this.#cluster!.from
      if (wake && waits(wake, this.#sent, this.#lastFailure !== null)) {
        this.#told.phase = 'queue'
        this.#cancelPause = this.#context.waking.wait(this.#cluster!.id, wake, this)
        return true
      }
      if (this.#fallsBack()) return true
      const last = this.#lastFailure
      this.#refuse(last ?? picked.code, last === null ? picked.reason : null)
      return true
    }
    const attempt = this.#attemptOn(picked)
    this.#attempts.next(attempt)
    if (this.#told.record.attempts === 1) this.#beside(asked, attempt)
    this.#send(attempt, fresh)
    return true
  }

  /** What goes on beside the first try: a copy for a mirror, and the wait before a second one. */
  #beside(asked: PickRequest, attempt: Attempt): void {
    const { mirrors, random } = this.#context
    if (this.#route!.mirror !== null) {
      const original = { client: this.#client, asked: this.#asked!, request: asked, body: this.#body }
      this.#tee = mirrors.copy(mirrorOf(this.#route!, random), original, sent => this.#told.mirrored(sent))
      this.#body = this.#tee ?? this.#body
    }
    const { hedge } = this.#cluster!.guard
    if (hedge !== null && !this.#client.upgrade) this.#attempts.arm(hedge, this, this.#sending(attempt))
  }

  /** Somebody serves, by another table (WakeClient). */
  woken(): void {
    this.#guarded(() => (this.#match(this.#asked!) ? this.#tryOrWait(false) : this.#refuse('no_route', null)))
  }

  unwoken(code: 'queue_full' | 'queue_timeout', reason: string): void {
    this.#refuse(code, reason)
  }

  #attemptOn(picked: Picked): Attempt {
    const attempt = new Attempt(this, picked, this.#context.observer.turns)
    attempt.span = this.#told.sent(picked.member, attempt.sentMs)
    return attempt
  }

  #send(attempt: Attempt, fresh: boolean): void {
    const client = this.#client
    const { member } = attempt
    const { method } = client
    const { target } = this.#asked!.line
    const head = this.#told.head(this.#asked!.outbound(), attempt)
    const timeouts = timeoutsFor(() => this.#sending(attempt), this.#cluster!.guard, this.#route!.timeouts)
    const request = { member, method, target, head, body: this.#body, timeouts, fresh }
    if (client.upgrade) attempt.tunnel = client.tunnel(member, timeouts.tunnelIdleMs)
    attempt.send(this.#context.forwards.of(client, this.#cluster!), request)
  }

  /** No answer yet, and others answer sooner (HedgeClient). */
  hedgeDue(): void {
    this.#attempts.disarm()
    this.#guarded(() => {
      const cluster = this.#cluster!
      const { member } = this.#attempts.current!
      if (!othersServe(cluster, member, nobodyTried) || !this.#places.another()) return
      const granted = cluster.guard.hedge!.claim(this.#nowMs())
      const picked = granted ? pick(cluster, this.#forPick(cluster), new Set([member])) : null
      if (picked === null || picked.member === null) return this.#places.leaveAllButOne()
      this.#told.record.hedges++
      const second = this.#attemptOn(picked)
      this.#attempts.beside(second)
      this.#send(second, false)
    })
  }

  // What an attempt reports (AttemptOwner).

  bodyWanted(): void {
    this.#told.phase = 'upload'
    this.#client.sendContinue()
  }

  information(_attempt: Attempt, head: AnswerHead): void {
    this.#client.sendInformation(head)
  }

  answered(attempt: Attempt, head: AnswerHead): AnswerBody | null {
    const nowMs = this.#context.observer.turns.now()
    attempt.noteAnswer(head.status, nowMs)
    this.#attempts.disarm()
    if (!this.#attempts.hedged && this.#triesElsewhere(attempt, head.status)) return null
    const wins = this.#attempts.wins(attempt, head.status)
    this.#places.leaveAllButOne()
    if (!wins) return null
    this.#told.record.backend = attempt.member.id
    this.#told.answered(head.status, nowMs)
    // What is left of the request will not be read: the connection cannot carry another one.
    const close = !this.#client.bodyComplete || this.#context.stopping()
    return this.#client.sendHead(head, extrasOf(attempt.picked, this.#context), close)
  }

  done(_attempt: Attempt, trailers: readonly string[]): void {
    this.#told.phase = 'last'
    this.#places.leave()
    this.#client.finish(trailers)
  }

  switched(attempt: Attempt, head: AnswerHead): void {
    this.#told.answered(101, this.#context.observer.turns.now())
    const tunnel = attempt.tunnel!
    this.#told.tunnel(tunnel)
    this.#client.switch(tunnel, head, extrasOf(attempt.picked, this.#context))
    this.#places.becomeTunnel(tunnel)
    this.#end()
  }

  failed(attempt: Attempt, failure: Failure): void {
    const { code } = failure
    const outcome = code === 'client_closed' || code === 'request_timeout' ? 'aborted' : 'failed'
    this.#attempts.disarm()
    if (this.#attempts.failed(attempt)) {
      attempt.leaveFailed(outcome)
      return this.#places.leaveAllButOne()
    }
    if (this.#client.answered) {
      attempt.leaveFailed(outcome)
      // An engine says that of a client which does not read on.
      this.#told.failed(code, this.#client, code === 'client_closed')
      return this.#client.break()
    }
    const verdict = this.#attempts.hedged ? 'no' : afterFailure(this.#sending(attempt), failure)
    // A pooled connection that had been closed while idle says nothing of the member.
    attempt.leaveFailed(verdict === 'fresh_connection' ? 'aborted' : outcome)
    this.#context.log.debug({ backend: attempt.member.id, code, verdict }, 'an attempt failed')
    if (verdict === 'no') return this.#refuse(code, null)
    this.#lastFailure = code
    this.#again(verdict, code, attempt.member)
  }

  // Deciding.

  /** A refusal by the backend that another member may not make. */
  #triesElsewhere(attempt: Attempt, status: number): boolean {
    if (status < 502 || status > 504) return false
    const others = () => othersServe(this.#cluster!, attempt.member, this.#tried ?? nobodyTried)
    const verdict = afterAnswer(this.#sending(attempt), status, others)
    if (verdict === 'no') return false
    attempt.giveUp('server_error')
    this.#again(verdict, null, attempt.member)
    return true
  }

  #again(verdict: Exclude<RetryVerdict, 'no'>, code: ErrorCode | null, member: Member): void {
    this.#sent ||= !neverSent(code)
    if (verdict === 'other_member') this.#tried = (this.#tried ?? new Set()).add(member)
    const again = () => this.#guarded(() => this.#tryOrWait(verdict === 'fresh_connection'))
    const pauseMs = retryPauseMs(verdict, code, this.#told.record.attempts, this.#context.random())
    if (pauseMs === 0) return again()
    this.#told.phase = 'queue'
    this.#cancelPause = this.#context.clock.after(pauseMs, again)
  }

  #sending({ picked }: Attempt): Sending {
    return {
      guard: this.#cluster!.guard,
      method: this.#client.method,
      hasBody: this.#asked!.hasBody,
      attempts: this.#told.record.attempts,
      sticky: picked.bound && this.#cluster!.cookies !== null,
      nowMs: this.#nowMs(),
    }
  }

  #forPick({ affinity }: RouteCluster): PickRequest {
    return this.#asked!.forPick(affinity, this.#nowMs())
  }

  /** Wall clock, read once a turn. */
  #nowMs(): number {
    const { turns } = this.#context.observer
    return turns.wall(turns.now())
  }

  // Ends.

  #guarded(act: () => void): void {
    try {
      act()
    } catch (error) {
      this.#context.log.error({ err: error }, 'an exchange failed by a fault of the proxy')
      this.#quit('internal')
    }
  }

  #quit(code: ErrorCode, reason: string | null = null, close = false): void {
    this.#giveUp()
    this.#refuse(code, reason, close)
  }

  /** Our own answer, unless one has begun or nobody is left to read it. */
  #refuse(code: ErrorCode, reason: string | null, close = false, fields: Fields = []): void {
    this.#told.failed(code, this.#client)
    if (this.#client.answered) return this.#client.break()
    this.#told.record.status = errorTable[code].status
    this.#client.refuse(code, reason, close || this.#context.stopping(), fields)
  }

  #giveUp(): void {
    this.#tee?.giveUp()
    this.#cancelPause?.()
    this.#attempts.giveUp()
  }

  #end(): void {
    if (this.#over) return
    this.#over = true
    this.#giveUp()
    if (this.#told.phase === 'head' && this.#attempts.current?.neverConnected) this.#told.phase = 'connect'
    this.#places.leave()
    this.#context.exchanges.remove(this)
    if (this.#told.phase !== 'tunnel') this.#told.over(this.#client, this.#wasCut ? 'proxy' : null)
  }
}
