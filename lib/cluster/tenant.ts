/**
 * A backend as control holds it from registration to the last exchange: its facts, its place on the board, its health.
 *
 * Whoever changes a fact goes through `set`, which writes the board's word first and then tells of the state people see.
 * It knows nothing of generations: whether it is in the table is `clusters.ts`.
 */
import type { Clock } from '../clock.ts'
import type { BackendState, BackendView, DrainProof, NewBackend } from './backend.ts'
import type { Board } from './board.ts'
import type { DrainOutcome, Leaving } from './drain.ts'
import { admission, backendState, closed, type Facts } from './eligibility.ts'
import { type Health, unknownHealth } from './health.ts'
import type { DataPlanePort } from './ports.ts'
import type { SessionLedger } from './sessions.ts'
import type { Tenancy } from './slots.ts'
import type { TableMember } from './table.ts'

export interface TenantDeps {
  readonly board: Board
  readonly clock: Clock
  readonly ledger: SessionLedger
  readonly port: DataPlanePort
  /** Called when the state people see has changed. */
  readonly changed: (tenant: Tenant, from: BackendState | null, to: BackendState | null, why: string) => void
}

export class Tenant {
  readonly cluster: string
  readonly spec: NewBackend
  readonly place: Tenancy
  readonly #deps: TenantDeps
  /** Sessions can be counted: the cluster's affinity goes by cookie. */
  readonly #countsSessions: boolean
  readonly #startedBase: number
  readonly #failedBase: number
  #facts: Facts
  #health: Health
  #shown: BackendState | null = null
  #removed = false

  constructor(cluster: string, spec: NewBackend, place: Tenancy, countsSessions: boolean, deps: TenantDeps) {
    this.cluster = cluster
    this.spec = spec
    this.place = place
    this.#deps = deps
    this.#countsSessions = countsSessions
    this.#startedBase = deps.board.total(place.slot, 'started')
    this.#failedBase = deps.board.total(place.slot, 'failed')
    this.#health = unknownHealth(deps.clock.now())
    this.#facts = {
      health: 'unknown',
      fenced: false,
      sealed: false,
      mark: spec.mark,
      warming: !spec.verified,
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
    return this.#health
  }

  get removed(): boolean {
    return this.#removed
  }

  set(facts: Partial<Facts>, why: string): void {
    const next = { ...this.#facts, ...facts }
    this.#facts = { ...next, sealed: next.sealed && closed(next) }
    if (this.#removed) return
    this.#deps.board.admit(this.place.slot, this.place.epoch, admission(this.#facts))
    this.show(why)
  }

  setHealth(health: Health): void {
    this.#health = health
    const warming = this.#facts.warming && health.status !== 'healthy'
    if (health.status !== this.#facts.health || warming !== this.#facts.warming)
      this.set({ health: health.status, warming }, health.reason)
  }

  /** Tells of the state, if it is another than was told last. `draining` becomes `drained` without anybody setting a fact. */
  show(why: string): void {
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
    this.#deps.board.admit(this.place.slot, this.place.epoch, 'none')
    if (this.#shown !== null) this.#deps.changed(this, this.#shown, null, why)
    this.#shown = null
  }

  state(): BackendState {
    return backendState(this.#facts, this.left())
  }

  left(): number {
    return this.#total('inFlight') + this.#total('tunnels')
  }

  member(): TableMember {
    const { id, incarnation, host, port, weight } = this.spec
    return { id, incarnation, host, port, weight, ...this.place }
  }

  view(): BackendView {
    const { id, host, port, incarnation, weight, instance } = this.spec
    const { status, reason, sinceMs } = this.#health
    return {
      id,
      host,
      port,
      incarnation,
      state: this.state(),
      health: { status, reason, since_ms: sinceMs },
      in_flight: this.#total('inFlight'),
      tunnels: this.#total('tunnels'),
      sessions: this.#sessions(),
      weight,
      requests: (this.#total('started') - this.#startedBase) >>> 0,
      failures: (this.#total('failed') - this.#failedBase) >>> 0,
      instance,
    }
  }

  proof(outcome: DrainOutcome = { waitedMs: 0, deadlineReached: false }): DrainProof {
    const inFlight = this.#total('inFlight')
    const tunnels = this.#total('tunnels')
    return {
      drained: inFlight === 0 && tunnels === 0,
      in_flight: inFlight,
      tunnels,
      sessions: this.#sessions(),
      waited_ms: outcome.waitedMs,
      deadline_reached: outcome.deadlineReached,
    }
  }

  /** `forGood`: see `Leaving`. */
  leaving(forGood = true): Leaving {
    const { slot, epoch } = this.place
    return {
      name: this.name,
      forGood,
      left: () => this.left(),
      exchanges: () => this.#total('inFlight'),
      reopened: () => !this.#removed && admission(this.#facts) === 'any',
      seal: () => this.set({ sealed: true }, 'the grace period is over'),
      closeTunnels: () => this.#deps.port.closeTunnels(slot, epoch, 1001, 'the backend is leaving'),
      cut: () => this.#deps.port.cut(slot, epoch),
    }
  }

  #total(counter: 'inFlight' | 'tunnels' | 'started' | 'failed'): number {
    return this.#deps.board.total(this.place.slot, counter)
  }

  #sessions(): number | null {
    if (!this.#countsSessions) return null
    return this.#deps.ledger.count(this.place.slot, this.place.epoch, this.#deps.clock.now())
  }
}
