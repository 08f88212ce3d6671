/**
 * The life of one exchange, from the request's head to the last byte of its answer, or to the tunnel it becomes. Every way
 * through it leaves the member it entered exactly once.
 *
 *   begin ─► match ─► pick ─► send ─► answer ─► over
 *     │        │      ▲ │      │        └ backend breaks: the client's connection breaks too, never a silent end
 *     ▼        ▼      │ ▼      ▼
 *    400      404     │503   failed ── retry allowed ──► pick
 *                     └────────┴────── not allowed ──► 502, 504 …
 */
import { isIP } from 'node:net'
import type { Clock } from '../clock.ts'
import type { Member, MemberOutcome } from '../cluster/member.ts'
import type { SessionSighting } from '../cluster/ports.ts'
import type { AffinityConfig } from '../config/config.ts'
import type { ErrorCode } from '../errors.ts'
import type { Log } from '../log.ts'
import type { AnswerBody, AnswerHead, ClientEnd, OutboundHead } from './client-end.ts'
import type { Forward, ForwardCall, ForwardEvents, Forwards } from './forward/forward.ts'
import { clientIp } from './headers.ts'
import { type Picked, pick } from './pick.ts'
import { type Failure, retryVerdict } from './retry.ts'
import type { RouteCluster, RouteTable } from './route-table.ts'
import type { Screened } from './screen.ts'
import type { TrustedProxies } from './trusted-proxies.ts'
import type { Tunnel, Tunnels } from './tunnel.ts'

/** What the exchanges of one event loop share. */
export interface DataPlaneContext {
  /** The newest; an exchange asks once. */
  table(): RouteTable
  readonly forwards: Forwards
  readonly exchanges: Exchanges
  readonly tunnels: Tunnels
  readonly trustedProxies: TrustedProxies
  readonly debugHeaders: boolean
  noteSession(sighting: SessionSighting): void
  readonly clock: Clock
  readonly log: Log
  /** True: answers end their connections. */
  stopping(): boolean
}

/** All exchanges of one event loop. */
export class Exchanges {
  readonly #open = new Set<Exchange>()

  get size(): number {
    return this.#open.size
  }

  /** Breaks what is under way on a member, on both sides. */
  cutMember(slot: number, epoch: number): void {
    for (const exchange of [...this.#open]) {
      const member = exchange.member
      if (member?.slot === slot && member.epoch === epoch) exchange.cut()
    }
  }

  add(exchange: Exchange): void {
    this.#open.add(exchange)
  }

  remove(exchange: Exchange): void {
    this.#open.delete(exchange)
  }
}

export class Exchange implements ForwardEvents {
  readonly #context: DataPlaneContext
  readonly #client: ClientEnd
  #tried: Set<Member> | null = null
  #trusted = false
  #line: Screened | null = null
  #cluster: RouteCluster | null = null
  #forward: Forward | null = null
  #head: OutboundHead | null = null
  #picked: Picked | null = null
  #call: ForwardCall | null = null
  #tunnel: Tunnel | null = null
  #attempts = 0
  #lastFailure: ErrorCode | null = null
  #over = false

  constructor(context: DataPlaneContext, client: ClientEnd) {
    this.#context = context
    this.#client = client
    context.exchanges.add(this)
  }

  /** The member it is on now. */
  get member(): Member | null {
    return this.#picked?.member ?? null
  }

  /** Never throws: a fault of our own becomes a 500 and a line in the log. */
  begin(): void {
    try {
      this.#begin()
    } catch (error) {
      this.#ownFault(error)
    }
  }

  /** The member is about to vanish. */
  cut(): void {
    this.#call?.abort()
    this.#leave('aborted')
    this.#refuse('upstream_reset', null)
  }

  // What the client's end reports.

  /** The answer has gone out, or the client has: comes once, whatever happens. */
  closed(): void {
    this.#end('aborted')
  }

  /** What the client sends is no request body. */
  clientFault(code: ErrorCode, reason: string): void {
    if (this.#over) return
    this.#call?.abort()
    this.#leave('aborted')
    this.#refuse(code, reason, true)
  }

  #begin(): void {
    const { line } = this.#client
    if (line.fault !== null) return this.#refuse('bad_request', line.fault, true)
    const table = this.#context.table()
    const cluster = table.match(line.hostname, line.path)
    if (cluster === null) return this.#refuse('no_route', null)
    this.#line = line
    this.#cluster = cluster
    this.#forward = this.#context.forwards.of(this.#client, cluster)
    this.#trusted = this.#context.trustedProxies.has(this.#client.peer)
    this.#attempt(false)
  }

  #attempt(fresh: boolean): void {
    const client = this.#client
    const cluster = this.#cluster!
    const { target } = this.#line!
    const picked = pick(
      cluster,
      {
        clientIp: this.#trusted ? this.#clientIp() : client.peer,
        path: target,
        headers: affinityFields(cluster.affinity, client),
        secure: client.secure,
        nowMs: this.#context.clock.now(),
      },
      this.#tried ?? nobodyTried,
    )
    if (picked.member === null)
      return this.#refuse(this.#lastFailure ?? picked.code, this.#lastFailure ? null : picked.reason)
    this.#picked = picked
    this.#attempts++
    this.#head ??= this.#outbound()
    const { member } = picked
    const { timeouts } = cluster
    const { method, upgrade } = client
    const body = upgrade ? null : client.body
    const request = { member, method, target, head: this.#head, body, timeouts, fresh }
    if (upgrade) {
      this.#tunnel = client.tunnel(member, timeouts.tunnelIdleMs)
      this.#call = this.#forward!.upgrade(request, this.#tunnel, this)
    } else {
      const call = this.#forward!.send(request, this)
      // It may be over already, and another attempt under way.
      if (this.#picked === picked) this.#call = call
    }
  }

  #clientIp(): string {
    const { trustedProxies } = this.#context
    const client = this.#client
    const said = { 'x-forwarded-for': client.field('x-forwarded-for'), forwarded: client.field('forwarded') }
    return clientIp(client.peer, said, address => trustedProxies.has(address), isAddress)
  }

  #outbound(): OutboundHead {
    const { peer, secure, localPort, protocol } = this.#client
    return this.#client.outbound({
      peer,
      trusted: this.#trusted,
      secure,
      port: localPort,
      httpVersionMinor: protocol === 'HTTP/1.0' ? 0 : 1,
      authority: this.#line!.authority,
    })
  }

  // What the engine reports (ForwardEvents).

  bodyWanted(): void {
    this.#client.sendContinue()
  }

  information(head: AnswerHead): void {
    this.#client.sendInformation(head)
  }

  response(head: AnswerHead): AnswerBody {
    // What is left of the request will not be read: the connection cannot carry another one.
    const close = !this.#client.bodyComplete || this.#context.stopping()
    return this.#client.sendHead(head, this.#extras(), close)
  }

  done(rawTrailers: readonly string[]): void {
    // The member's part is over; how fast the client reads the rest is not its concern.
    this.#leave('ok')
    this.#client.finish(rawTrailers)
  }

  switched(head: AnswerHead): void {
    const extras = this.#extras()
    // From here on the tunnel is what is counted on the member.
    this.#picked = null
    this.#client.switch(this.#tunnel!, head, extras)
    this.#end('ok')
  }

  failed(failure: Failure): void {
    const { code } = failure
    const outcome = code === 'client_closed' || code === 'request_timeout' ? 'aborted' : 'failed'
    if (this.#client.answered) {
      this.#leave(outcome)
      return this.#client.break()
    }
    const hasBody = this.#line!.body !== 'none'
    const verdict = retryVerdict(failure, this.#client.method, hasBody, this.#attempts)
    const member = this.#picked!.member
    // A pooled connection that had been closed while idle says nothing of the member.
    this.#leave(verdict === 'fresh_connection' ? 'aborted' : outcome)
    this.#context.log.debug({ backend: member.id, code, verdict }, 'an attempt failed')
    if (verdict === 'no') return this.#refuse(code, null)
    this.#lastFailure = code
    if (verdict === 'other_member') this.#tried = (this.#tried ?? new Set()).add(member)
    try {
      this.#attempt(verdict === 'fresh_connection')
    } catch (error) {
      this.#ownFault(error)
    }
  }

  #extras(): { setCookie: string | null; backend: string | null } {
    const { member, setCookie, sighting } = this.#picked!
    if (sighting !== null) this.#context.noteSession(sighting)
    return { setCookie, backend: this.#context.debugHeaders ? member.id : null }
  }

  #ownFault(error: unknown): void {
    this.#context.log.error({ err: error }, 'an exchange failed by a fault of the proxy')
    this.#leave('aborted')
    this.#refuse('internal', null)
  }

  /** Our own answer, unless one has begun or nobody is left to read it. */
  #refuse(code: ErrorCode, reason: string | null, close = false): void {
    if (this.#client.answered) this.#client.break()
    else this.#client.refuse(code, reason, close || this.#context.stopping())
  }

  #leave(outcome: MemberOutcome): void {
    const member = this.#picked?.member
    this.#picked = null
    member?.leave(outcome)
  }

  #end(outcome: MemberOutcome): void {
    if (this.#over) return
    this.#over = true
    this.#leave(outcome)
    this.#call?.abort()
    this.#context.exchanges.remove(this)
  }
}

/** The fields that affinity reads, and no others. */
function affinityFields(affinity: AffinityConfig, client: ClientEnd): Record<string, string | undefined> {
  if (affinity.method === 'cookie') return { cookie: client.field('cookie') }
  if (affinity.method !== 'consistent_hashing') return noFields
  const { parameter } = affinity
  if (parameter.from === 'cookie') return { cookie: client.field('cookie') }
  return parameter.from === 'header' ? { [parameter.name]: client.field(parameter.name) } : noFields
}

const isAddress = (text: string) => isIP(text) !== 0
const nobodyTried: ReadonlySet<Member> = new Set()
const noFields = {}
