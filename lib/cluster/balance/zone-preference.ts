/**
 * Zone preference: new clients stay in this Tidegate's own zone as long as that does not overload it. @pure
 *
 * It reckons with a Tidegate in each zone that has members, each with an equal part of the clients. With z zones the own zone's
 * fair part is then 1/z of all capacity that takes clients:
 *
 *   own zone has 1/z or more      every client stays
 *   own zone has less             own part · z of the clients stay; the rest goes to the zones that have more than 1/z, in
 *                                 proportion to what they have above it
 *
 * Within a zone the cluster's own balancer decides. When the chosen zone has nobody, the others are asked.
 */
import { takesNew } from './admits.ts'
import type { Balancer, BalancerSetting, Candidate, Random } from './balancer.ts'
import { SlowStart } from './slow-start.ts'

/** How long the zones' parts are believed. */
const partsKeptMs = 100

interface Zone<M extends Candidate> {
  readonly name: string | null
  readonly members: readonly M[]
  readonly balancer: Balancer<M>
  /** Weight that takes new clients. */
  open: number
  /** Of the clients that do not stay in the own zone, as a cumulative share. */
  upTo: number
}

export type BuildBalancer<M extends Candidate> = (
  members: readonly M[],
  previous: Balancer<M> | null,
) => Balancer<M>

export class ZonePreference<M extends Candidate> implements Balancer<M> {
  readonly kind: Balancer<M>['kind']
  /** The own zone first. */
  readonly #zones: readonly Zone<M>[]
  readonly #random: Random
  readonly #now: () => number
  readonly #slowStart: SlowStart
  #staying = 1
  #reckonedAtMs = Number.NEGATIVE_INFINITY

  constructor(
    members: readonly M[],
    setting: BalancerSetting<M>,
    build: BuildBalancer<M>,
    previous: ZonePreference<M> | null,
  ) {
    this.kind = setting.kind
    this.#random = setting.random
    this.#now = setting.now
    this.#slowStart = new SlowStart(setting.slowStartMs, setting.now, setting.random)
    const byZone = new Map<string | null, M[]>([[setting.zone, []]])
    for (const member of members) {
      if (member.weight === 0) continue
      const zone = byZone.get(member.zone)
      if (zone) zone.push(member)
      else byZone.set(member.zone, [member])
    }
    this.#zones = [...byZone].map(([name, own]) => {
      const former = previous === null ? undefined : previous.#zones.find(zone => zone.name === name)
      return { name, members: own, balancer: build(own, former?.balancer ?? null), open: 0, upTo: 0 }
    })
  }

  pick(tried: ReadonlySet<M>, hash?: number): M | null {
    this.#reckon()
    const zones = this.#zones
    const chosen = this.#staying >= 1 || this.#random() < this.#staying ? 0 : this.#elsewhere()
    const member = zones[chosen]!.balancer.pick(tried, hash)
    if (member !== null) return member
    for (let at = 0; at < zones.length; at++) {
      const other = at === chosen ? null : zones[at]!.balancer.pick(tried, hash)
      if (other !== null) return other
    }
    return null
  }

  #elsewhere(): number {
    const place = this.#random()
    for (let at = 1; at < this.#zones.length; at++) if (place < this.#zones[at]!.upTo) return at
    return 0
  }

  #reckon(): void {
    const nowMs = this.#now()
    if (Math.abs(nowMs - this.#reckonedAtMs) < partsKeptMs) return
    this.#reckonedAtMs = nowMs
    const [own, ...others] = this.#zones
    for (const zone of this.#zones) zone.open = this.#openWeight(zone)
    const fair = this.#zones.reduce((sum, zone) => sum + zone.open, 0) / this.#zones.length
    this.#staying = fair === 0 ? 1 : own!.open / fair
    const spare = others.reduce((sum, zone) => sum + Math.max(0, zone.open - fair), 0)
    let upTo = 0
    for (const zone of others) {
      upTo += spare === 0 ? 0 : Math.max(0, zone.open - fair) / spare
      zone.upTo = upTo
    }
  }

  #openWeight({ members }: Zone<M>): number {
    let sum = 0
    for (const member of members)
      if (takesNew(member, nobody)) sum += member.weight * this.#slowStart.share(member)
    return sum
  }
}

const nobody: ReadonlySet<never> = new Set()
