/**
 * A figure is one number that the product promises, and whether this run kept it. @pure
 *
 * Most figures are ratios of two lanes of the same row, taken round by round, because absolute times say more of the machine
 * than of the proxy. A figure that could not be measured is never taken for kept.
 */
import { pairedRatio } from './stats.ts'

export type Sense = 'at most' | 'at least'

export interface Figure {
  readonly what: string
  /** NaN: it could not be measured; `note` says why. */
  readonly value: number
  readonly unit: string
  readonly sense: Sense
  readonly limit: number
  readonly note: string | null
}

export type Verdict = 'pass' | 'miss' | 'not measured'

export function verdict({ value, sense, limit }: Figure): Verdict {
  if (!Number.isFinite(value)) return 'not measured'
  return (sense === 'at most' ? value <= limit : value >= limit) ? 'pass' : 'miss'
}

/** The lane that is judged, or judged by: its measured rounds, and what was wrong with it. */
export interface Judged {
  readonly name: string
  readonly rounds: readonly Readonly<Record<string, number>>[]
  readonly faults: readonly string[]
}

/** `ours` is `limit` times `theirs` at most (or at least) in this metric. */
export interface RatioTarget {
  readonly what: string
  readonly metric: string
  readonly ours: string
  readonly theirs: string
  readonly sense: Sense
  readonly limit: number
}

export function ratioFigure(target: RatioTarget, lanes: readonly Judged[]): Figure {
  const { what, metric, sense, limit } = target
  const ours = lanes.find(lane => lane.name === target.ours)
  const theirs = lanes.find(lane => lane.name === target.theirs)
  const figure = (value: number, note: string | null) => ({ what, value, unit: '×', sense, limit, note })
  const absent = [
    [target.ours, ours],
    [target.theirs, theirs],
  ] as const
  for (const [name, lane] of absent) {
    if (!lane || lane.rounds.length === 0)
      return figure(Number.NaN, lane?.faults[0] ?? `${name} was not measured`)
  }
  // A subject that does less than was asked cannot be a yardstick, and cannot pass.
  const fault = [ours!, theirs!].find(lane => lane.faults.length > 0)
  if (fault) return figure(Number.NaN, `${fault.name}: ${fault.faults[0]}`)
  const rounds = (lane: Judged) => lane.rounds.map(round => round[metric] ?? Number.NaN)
  const ratio = pairedRatio(rounds(ours!), rounds(theirs!))
  return figure(ratio, Number.isFinite(ratio) ? null : `${metric} was not measured`)
}
