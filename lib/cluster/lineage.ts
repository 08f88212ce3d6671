/**
 * Lineage: whose memory an instance began with, and as of when; and from that, who has the most of a memory that is lost. @pure
 *
 *   a ──●────●───────●──────►    ● a snapshot: what comes after it is not in the copy
 *       │    │       └─ d ──►
 *       │    └─ c ──────────►    of a, when it is lost: d has the most, then c, then b and e
 *       └─ b ───●───────────►    of c: a and d have what c began with, b and e what b began with
 *               └─ e ───────►
 *
 * Two lives share the memory of the nearest life that both come from, up to the earlier of the instants at which they left it.
 */

/** One life that another comes from. */
export interface Ancestor {
  readonly instance: string
  /** Null: a golden snapshot, which nobody's client had been in; or nobody knows. Nothing beyond it is shared. */
  readonly incarnation: string | null
  /** Wall clock: the instant of the snapshot. */
  readonly asOfMs: number
}

/** The nearest first. */
export type Lineage = readonly Ancestor[]

export interface Life {
  readonly incarnation: string
  readonly lineage: Lineage
}

/** Ancestors further back are forgotten: each failover to a clone makes a lineage one longer. */
export const lineageMax = 16

/** Of a copy of `source` as of then. */
export function lineageOfClone(source: Ancestor, further: Lineage): Lineage {
  if (source.incarnation === null) return [source]
  return [source, ...further].slice(0, lineageMax)
}

export interface Heir<T> {
  readonly life: T
  /** Up to this instant it has what the lost one had. */
  readonly asOfMs: number
}

/** Who of the living has something of it, the most recent first; those that have the same stay in their order. */
export function heirsOf<T extends Life>(lost: Life, living: readonly T[]): readonly Heir<T>[] {
  const left = new Map([[lost.incarnation, Number.POSITIVE_INFINITY]])
  for (const { incarnation, asOfMs } of lost.lineage) if (incarnation !== null) left.set(incarnation, asOfMs)
  const heirs: Heir<T>[] = []
  for (const life of living) {
    const asOfMs = life.incarnation === lost.incarnation ? null : sharedAsOf(left, life)
    if (asOfMs !== null) heirs.push({ life, asOfMs })
  }
  return heirs.sort((a, b) => b.asOfMs - a.asOfMs)
}

/** `left`: when the lost one left each life that it comes from. Null: they share nothing. */
function sharedAsOf(left: ReadonlyMap<string, number>, { incarnation, lineage }: Life): number | null {
  const own = left.get(incarnation)
  if (own !== undefined) return own
  for (const { incarnation, asOfMs } of lineage) {
    const lostAtMs = incarnation === null ? undefined : left.get(incarnation)
    if (lostAtMs !== undefined) return Math.min(lostAtMs, asOfMs)
  }
  return null
}
