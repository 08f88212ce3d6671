/**
 * What of all that clients saw may not be: nothing but what was on a killed instance may fail or be lost, and what was late because everything
 * stood still. A line each; empty when all is well.
 */
import type { LoadReport } from './load.ts'
import { type Standstill, Standstills } from './standstills.ts'

export interface Killing {
  readonly instance: string
  /** Wall clock. */
  readonly atMs: number
}

/** Faults that clients saw and that are explained. */
export interface Excused {
  readonly requests: number
  readonly sessions: number
  readonly webSockets: number
}

export interface Verdict {
  readonly faults: readonly string[]
  /** What clients saw in a standstill, in words: it is not counted, and should be looked at all the same. */
  readonly late: readonly string[]
  readonly byKilling: Excused
  readonly byStandstill: Excused
}

export interface Circumstances {
  readonly killings: readonly Killing[]
  readonly standstills: readonly Standstill[]
  /** Drains that were under way when everything stood still end before their sessions do. */
  readonly graceMs: number
}

/** Two clocks of one machine, read in two processes. */
const slackMs = 5
/** A handshake that met a dying instance never says whose it was. */
const handshakeMs = 2_000
/** What was too late comes at once when everything runs again. */
const afterMs = 5_000

interface Seen {
  readonly atMs: number
  readonly instance: string
}

export function judge(report: LoadReport, circumstances: Circumstances): Verdict {
  const { killings, graceMs } = circumstances
  const standstills = [...circumstances.standstills, ...report.standstills]
  const onKilled = ({ instance, atMs }: Seen) =>
    killings.some(
      one =>
        atMs >= one.atMs - slackMs &&
        (instance === one.instance || (instance === '' && atMs <= one.atMs + handshakeMs)),
    )
  const inStandstill = (lateMs: number) => (seen: Seen) =>
    Standstills.within(standstills, seen.atMs, seen.atMs, lateMs)
  const failures = sort(report.failures, onKilled, inStandstill(afterMs))
  const moves = sort(report.moves, onKilled, inStandstill(graceMs + afterMs))
  const broken = sort(report.tunnels.broken, onKilled, inStandstill(afterMs))
  const faults = [
    ...failures.left.map(told),
    ...report.lost.map(({ atMs, instance, what }) => `${time(atMs)} lost on ${instance}: ${what}`),
    ...moves.left.map(
      ({ atMs, instance, to }) => `${time(atMs)} moved from ${instance}, which lived, to ${to}`,
    ),
    ...broken.left.map(
      ({ atMs, instance, what }) => `${time(atMs)} WebSocket on ${instance || 'nobody'} ${what}`,
    ),
  ]
  if (report.repeated > 0 && killings.length === 0) faults.push(`${report.repeated} requests were seen twice`)
  const excused = (by: 'first' | 'second'): Excused => ({
    requests: failures[by].length,
    sessions: moves[by].length,
    webSockets: broken[by].length,
  })
  return {
    faults,
    late: failures.second.map(told),
    byKilling: excused('first'),
    byStandstill: excused('second'),
  }
}

function sort<T>(all: readonly T[], first: (one: T) => boolean, second: (one: T) => boolean) {
  const unkilled = all.filter(one => !first(one))
  const [left, later] = [unkilled.filter(one => !second(one)), unkilled.filter(second)]
  return { left, first: all.filter(first), second: later }
}

const told = ({ atMs, instance, what }: Seen & { readonly what: string }): string =>
  `${time(atMs)} failed on ${instance || 'nobody'}: ${what}`

const time = (ms: number) => new Date(ms).toISOString().slice(11, 23)
