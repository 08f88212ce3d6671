/**
 * How a cluster stands: how many of its backends are well, and what follows from that for each of them. @pure
 *
 *   share that is well                        ≥ degradedThreshold │ less: `allHands`, the degraded take new clients too
 *   share that is well or degraded              ≥ panicThreshold │ less: `panic`, health is ignored
 *
 * Only backends in rotation are counted: what is warming up, drained or in maintenance is not there to be well. Counted as
 * things change, so that a change costs the same in a cluster of three and of ten thousand; only a turn walks them all.
 */
import type { HealthConfig } from '../config/config.ts'

export type Vote = 'well' | 'degraded' | 'ill'

export interface Standing {
  readonly panic: boolean
  readonly allHands: boolean
}

export interface Count {
  readonly well: number
  readonly degraded: number
  readonly ill: number
}

export interface Voter {
  /** Called when the standing has turned. */
  heed(standing: Standing): void
}

type Thresholds = Pick<HealthConfig, 'degradedThreshold' | 'panicThreshold'>

export class Poll {
  readonly #turned: (standing: Standing, count: Count) => void
  readonly #votes = new Map<Voter, Vote | null>()
  readonly #count = { well: 0, degraded: 0, ill: 0 }
  #thresholds: Thresholds
  #standing: Standing = { panic: false, allHands: false }

  /** `turned` is called when panic begins or ends. */
  constructor(thresholds: Thresholds, turned: (standing: Standing, count: Count) => void) {
    this.#thresholds = thresholds
    this.#turned = turned
  }

  get standing(): Standing {
    return this.#standing
  }

  get count(): Count {
    return { ...this.#count }
  }

  setThresholds(thresholds: Thresholds): void {
    this.#thresholds = thresholds
    this.#decide()
  }

  /** Takes a voter in, or its other vote; null: it is not in rotation. */
  vote(voter: Voter, vote: Vote | null): void {
    const before = this.#votes.get(voter)
    if (before === vote) return
    this.#votes.set(voter, vote)
    // It may have been made before the last turn.
    if (before === undefined) voter.heed(this.#standing)
    this.#move(before ?? null, vote)
  }

  leave(voter: Voter): void {
    const before = this.#votes.get(voter) ?? null
    if (this.#votes.delete(voter)) this.#move(before, null)
  }

  #move(from: Vote | null, to: Vote | null): void {
    if (from !== null) this.#count[from]--
    if (to !== null) this.#count[to]++
    this.#decide()
  }

  #decide(): void {
    const { well, degraded, ill } = this.#count
    const members = well + degraded + ill
    const fewer = (some: number, percent: number) => members > 0 && some * 100 < percent * members
    const panic = fewer(well + degraded, this.#thresholds.panicThreshold)
    const allHands = fewer(well, this.#thresholds.degradedThreshold)
    const before = this.#standing
    if (panic === before.panic && allHands === before.allHands) return
    this.#standing = { panic, allHands }
    for (const voter of this.#votes.keys()) voter.heed(this.#standing)
    if (panic !== before.panic) this.#turned(this.#standing, this.count)
  }
}
