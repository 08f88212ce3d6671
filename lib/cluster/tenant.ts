/**
 * A backend as control holds it from registration to the last exchange: its facts, its place on the board, its health.
 *
 * Whoever changes a fact goes through `set`, which writes the board's word first and then tells of the state people see.
 * It knows nothing of generations: whether it is in the table is `clusters.ts`.
 */
import type { Clock } from '../clock.ts'
import type { CloseCode } from '../config/config.ts'
import type {
  BackendState,
  BackendView,
  DrainPolicy,
  DrainProof,
  HealthChange,
  NewBackend,
} from './backend.ts'
import type { Board, Counter } from './board.ts'
import { Condition, type Ejection } from './condition.ts'
import { type DrainOutcome, drainOut, graceOf, type Leaving } from './drain.ts'
import { admission, backendState, type Facts, shut, voteOf } from './eligibility.ts'
import type { Health } from './health.ts'
import type { Totals, Traffic } from './outlier.ts'
import type { DataPlanePort } from './ports.ts'
import type { SessionLedger } from './sessions.ts'
import type { Tenancy } from './slots.ts'
import type { Poll, Standing, Voter } from './standing.ts'
import type { TableMember } from './table.ts'

export interface TenantDeps {
  readonly board: Board
  readonly clock: Clock
  readonly ledger: SessionLedger
  readonly port: DataPlanePort
  /** Called when the state people see has changed. */
  readonly changed: (tenant: Tenant, from: BackendState | null, to: BackendState | null, why: string) => void
  /** Called when the health people see has changed. */
  readonly healthChanged: (tenant: Tenant, change: HealthChange) => void
  /** Of its cluster. */
  readonly poll: Poll
}

/** A drain under way, or the last one since it was closed. */
interface Departure {
  readonly policy: DrainPolicy
  /** Monotonic. */
  readonly startedAtMs: number
  /** Wall clock. */
  readonly deadlineAtMs: number
  /** Every thread has told of the sessions that it saw before the door was closed. */
  heard: boolean
  outcome: DrainOutcome | null
}

export class Tenant implements Voter {
  readonly cluster: string
  /** A reload may change what is said of it, never where or whose life it is. */
  spec: NewBackend
  readonly place: Tenancy
  readonly #deps: TenantDeps
  readonly #startedBase: number
  /** What former tenants of the slot left on its counters. */
  readonly #base: Totals
  readonly #condition: Condition
  #facts: Facts
  /** What becomes of its facts at the next turn of the board, and whether it keeps out even bound clients until then. */
  #turning: { readonly fenced: boolean; readonly enters: boolean } | null = null
  #shown: BackendState | null = null
  #listed: { readonly spec: NewBackend; readonly data: TableMember } | null = null
  #removed = false
  /** Sessions can be counted: the cluster's affinity goes by cookie. */
  countsSessions: boolean
  #departure: Departure | null = null
  /** Before this moment (wall clock) sessions of an earlier process may live that nobody has seen yet. */
  sessionsKnownAtMs = 0

  constructor(cluster: string, spec: NewBackend, place: Tenancy, countsSessions: boolean, deps: TenantDeps) {
    this.cluster = cluster
    this.spec = spec
    this.place = place
    this.#deps = deps
    this.countsSessions = countsSessions
    this.#startedBase = deps.board.total(place.slot, 'started')
    this.#base = this.#totals()
    deps.board.takeRow(place.slot)
    this.#condition = new Condition(deps.clock.now())
    this.#facts = {
      health: 'unknown',
      ejected: null,
      selfDrain: false,
      fenced: spec.fenced ?? false,
      sealed: false,
      mark: spec.mark,
      warming: !spec.verified,
      ...deps.poll.standing,
    }
    deps.ledger.open(place.slot, place.epoch)
    deps.board.admit(place.slot, place.epoch, admission(this.#facts))
  }

  /** `cluster/id`. */
  get name(): string {
    return `${this.cluster}/${this.spec.id}`
  }

  get facts(): Facts {
    return this.#facts
  }

  get health(): Health {
    return this.#condition.health
  }

  get ejection(): Ejection | null {
    return this.#condition.ejection
  }

  get removed(): boolean {
    return this.#removed
  }

  set(facts: Partial<Facts>, why: string): void {
    const next = { ...this.#facts, ...facts }
    this.#facts = { ...next, sealed: next.sealed && shut(next) }
    if (!shut(next)) this.#departure = null
    if (this.#removed) return
    this.#deps.poll.vote(this, voteOf(this.#facts))
    this.#admit()
    this.show(why)
  }

  /** At the board's next turn it opens to new clients, or closes; null: it does not. `enters`: until then it admits nobody. */
  prepareTurn(turning: { readonly fenced: boolean; readonly enters: boolean } | null): void {
    this.#turning = turning
    this.#admit()
  }

  /** The board has turned. */
  turned(): void {
    if (this.#turning === null) return
    const { fenced, enters } = this.#turning
    this.#turning = null
    if (enters) this.opened()
    this.set(
      { fenced },
      enters ? 'registered' : fenced ? 'others took its place' : 'it takes its place again',
    )
  }

  setHealth(health: Health): void {
    const change = this.#condition.setHealth(health, this.#deps.clock.now())
    if (change) this.#deps.healthChanged(this, change)
    const { facts } = this
    const warming = facts.warming && health.checks !== 'healthy'
    const selfDrain = health.says === 'draining'
    if (health.status !== facts.health || warming !== facts.warming || selfDrain !== facts.selfDrain)
      this.set({ health: health.status, warming, selfDrain }, health.reason)
  }

  /** Null: it is taken back. */
  eject(ejection: Ejection | null): void {
    const change = this.#condition.setEjection(ejection, this.#deps.clock.now())
    if (change) this.#deps.healthChanged(this, change)
    this.set({ ejected: ejection?.from ?? null }, ejection?.reason ?? 'its ejection is over')
  }

  /** What its cluster's standing makes of it. */
  heed(standing: Standing): void {
    this.#facts = { ...this.#facts, ...standing }
    if (this.#removed) return
    this.#admit()
    if (this.#shown !== null)
      this.show(
        standing.panic ? 'too few are well: health is ignored' : 'enough are well: health counts again',
      )
  }

  /** How many of its exchanges went wrong, in any way, since it came. */
  bad(): number {
    return (
      (this.#total('failed') + this.#total('serverErrors') - this.#base.failed - this.#base.serverErrors) | 0
    )
  }

  /** What came of its exchanges so far. */
  totals(): Totals {
    const { settled, failed, serverErrors } = this.#totals()
    return {
      settled: settled - this.#base.settled,
      failed: failed - this.#base.failed,
      serverErrors: serverErrors - this.#base.serverErrors,
    }
  }

  /** The same, and the longest row of failures, taken out of the board's letter box. */
  traffic(): Traffic {
    return { ...this.totals(), row: this.#deps.board.takeRow(this.place.slot) }
  }

  /** Tells of the state, if it is another than was told last. `draining` becomes `drained` without anybody setting a fact. */
  show(why: string): void {
    if (this.#shown === null && !this.#removed) this.#deps.poll.vote(this, voteOf(this.#facts))
    const state = this.state()
    if (state === this.#shown) return
    const from = this.#shown
    this.#shown = state
    this.#deps.changed(this, from, state, why)
  }

  /** Out of every thread's table: admits nobody from now on, and nobody is told of its states any more. */
  close(why: string): void {
    if (this.#removed) return
    this.#removed = true
    this.#deps.poll.leave(this)
    this.#deps.board.admit(this.place.slot, this.place.epoch, 'none')
    if (this.#shown !== null) this.#deps.changed(this, this.#shown, null, why)
    this.#shown = null
  }

  /** It takes new clients. */
  serves(): boolean {
    return !['none', 'bound'].includes(admission(this.#facts))
  }

  state(): BackendState {
    return backendState(this.#facts, this.left() + this.#awaitedSessions())
  }

  left(): number {
    return this.#total('inFlight') + this.#total('tunnels')
  }

  /** The same object as long as it says the same. */
  member(): TableMember {
    if (this.#listed?.spec !== this.spec) {
      const { id, incarnation, host, port, weight, zone = null, lineage = [] } = this.spec
      const kin = lineage.length > 0 ? { lineage } : {}
      const data = Object.freeze({ id, incarnation, host, port, weight, zone, ...kin, ...this.place })
      this.#listed = { spec: this.spec, data }
    }
    return this.#listed.data
  }

  /** It begins to serve: newly registered, or back from where it could not. */
  opened(): void {
    this.#deps.board.noteOpened(this.place.slot, this.#deps.clock.now())
  }

  view(): BackendView {
    const { id, host, port, incarnation, weight, zone = null, instance } = this.spec
    return {
      id,
      host,
      port,
      incarnation,
      state: this.state(),
      health: this.#condition.view(),
      admits: admission(this.#facts),
      in_flight: this.#total('inFlight'),
      tunnels: this.#total('tunnels'),
      sessions: this.#sessions(),
      weight,
      zone,
      requests: (this.#total('started') - this.#startedBase) >>> 0,
      failures: (this.#total('failed') - this.#base.failed) >>> 0,
      server_errors: (this.#total('serverErrors') - this.#base.serverErrors) >>> 0,
      instance,
    }
  }

  /** What is left on it; with how far its drain has come, if it is in one. */
  proof(): DrainProof {
    const inFlight = this.#total('inFlight')
    const tunnels = this.#total('tunnels')
    const { clock } = this.#deps
    const departure = this.#departure
    const { startedAtMs = clock.monotonic(), deadlineAtMs = null, outcome = null } = departure ?? {}
    return {
      drained: inFlight === 0 && tunnels === 0 && this.#awaitedSessions() === 0,
      in_flight: inFlight,
      tunnels,
      sessions: this.#sessions(),
      deadline_at: deadlineAtMs === null ? null : new Date(deadlineAtMs).toISOString(),
      waited_ms: outcome?.waitedMs ?? Math.round(clock.monotonic() - startedAtMs),
      deadline_reached: outcome?.deadlineReached ?? (deadlineAtMs !== null && clock.now() >= deadlineAtMs),
    }
  }

  /** Sees out what is left on it, as `drain.ts` says. Closed tenants only. */
  async drain(policy: DrainPolicy, forGood: boolean, signal?: AbortSignal): Promise<void> {
    const { clock } = this.#deps
    const deadlineAtMs = clock.now() + graceOf(policy)
    const departure: Departure = {
      policy,
      startedAtMs: clock.monotonic(),
      deadlineAtMs,
      heard: false,
      outcome: null,
    }
    this.#departure = departure
    try {
      departure.outcome = await drainOut(this.leaving(forGood, policy.closeCode), policy, clock, signal)
    } catch (error) {
      if (this.#departure === departure) this.#departure = null
      throw error
    }
    if (!this.#removed) this.show('nothing is left on it')
  }

  /** `forGood`: see `Leaving`. */
  leaving(forGood: boolean, code: CloseCode = 1001): Leaving {
    const { slot, epoch } = this.place
    const { port } = this.#deps
    return {
      name: this.name,
      forGood,
      exchanges: () => this.#total('inFlight'),
      tunnels: () => this.#total('tunnels'),
      sessions: () => this.#heldSessions(),
      heard: () => this.#heard(),
      reopened: () => !this.#removed && this.#facts.mark !== 'maint' && !shut(this.#facts),
      seal: () => this.set({ sealed: true }, 'bound clients go elsewhere'),
      closeTunnels: spreadMs =>
        port.closeTunnels(slot, epoch, { code, reason: 'the backend is leaving', spreadMs }),
      keepTunnels: () => port.keepTunnels(slot, epoch),
      cut: what => port.cut(slot, epoch, what),
    }
  }

  async #heard(): Promise<boolean> {
    const departure = this.#departure
    const heard = !this.countsSessions || ((await this.#deps.port.heardSessions?.()) ?? true)
    if (departure && heard) departure.heard = true
    return heard
  }

  /** For whoever asks from outside: one at least also while threads were not asked since the door was closed. */
  #awaitedSessions(): number {
    const departure = this.#keepingDeparture()
    return departure === null || departure.heard ? this.#heldSessions() : Math.max(1, this.#heldSessions())
  }

  /** Live sessions that its drain waits for; one at least while some may live that nobody has seen. */
  #heldSessions(): number {
    if (this.#keepingDeparture() === null) return 0
    const seen = this.#sessions() ?? 0
    return seen === 0 && this.#deps.clock.now() < this.sessionsKnownAtMs ? 1 : seen
  }

  /** The drain under way, if live sessions hold it up. */
  #keepingDeparture(): Departure | null {
    const departure = this.#departure
    if (!departure || departure.outcome || departure.policy.sessions !== 'keep') return null
    return this.countsSessions && !this.#facts.sealed && !this.#removed ? departure : null
  }

  #admit(): void {
    const { board } = this.#deps
    const { slot, epoch } = this.place
    const admits = admission(this.#facts)
    if (this.#turning !== null) {
      const { fenced, enters } = this.#turning
      const after = { ...this.#facts, fenced }
      const sealed = after.sealed && shut(after)
      return board.admitAtTurn(slot, epoch, enters ? 'none' : admits, admission({ ...after, sealed }))
    }
    // Noted first: nobody is to find it open and not new.
    if (admits !== 'none' && board.eligibility(slot, epoch) === 'none') this.opened()
    board.admit(slot, epoch, admits)
  }

  #totals(): Totals {
    const settled = this.#total('started') - this.#total('inFlight') - this.#total('aborted')
    return { settled, failed: this.#total('failed'), serverErrors: this.#total('serverErrors') }
  }

  #total(counter: Counter): number {
    return this.#deps.board.total(this.place.slot, counter)
  }

  #sessions(): number | null {
    if (!this.countsSessions) return null
    return this.#deps.ledger.count(this.place.slot, this.place.epoch, this.#deps.clock.now())
  }
}
