/** The rows that put HTTP load on all subjects and judge Tidegate by ratios: their lanes, their check, their faults. */
import { faultsOf } from '../check.ts'
import { has } from '../children.ts'
import { costOf, type Work } from '../cost.ts'
import { type RatioTarget, ratioFigure } from '../figures.ts'
import { type Lane, measureLanes, without } from '../rounds.ts'
import type { Bench, Column, Row, RowResult, Sample } from '../row.ts'
import type { Order, Running } from '../subjects/subject.ts'
import { everyone, peersAsked, tidegateLane } from './lanes.ts'

export interface HttpRow {
  readonly id: string
  readonly title: string
  /** Said in the report; the command included. */
  readonly load: (bench: Bench) => string
  readonly tls?: boolean
  /** Names of the peers that can do this; absent: all. */
  readonly peers?: readonly string[]
  /** The program that makes the load, when it is not our own. */
  readonly needs?: 'wrk' | 'h2load'
  readonly columns: readonly Column[]
  readonly plotted: string | null
  readonly targets: readonly RatioTarget[]
  work(bench: Bench, running: Running, seconds: number): Promise<Work>
}

export const cpuColumns: readonly Column[] = [
  { metric: 'cpu_us', label: 'CPU µs', digits: 1 },
  { metric: 'user_us', label: 'of it user', digits: 1 },
]
export const busyColumn: Column = { metric: 'busy', label: 'busy', digits: 2 }
/** Connections that the origin was given in a round. */
export const keptColumn: Column = { metric: 'origin_connections', label: 'to origin', digits: 0 }

export function httpRow(definition: HttpRow): Row {
  const { id, title } = definition
  return { id, title, run: bench => runHttpRow(bench, definition) }
}

async function runHttpRow(bench: Bench, definition: HttpRow): Promise<RowResult> {
  const { id, title, columns, plotted, targets, needs } = definition
  const tls = definition.tls === true
  const missing = needs !== undefined && !has(needs)
  const measured = missing
    ? without(needs, 'not installed; get it with: npm run setup -- bench')
    : await measureLanes(bench, await lanesOf(bench, definition), {
        check: running =>
          faultsOf({
            port: running.port,
            certificate: tls ? bench.certificate.cert : null,
            origin: bench.origin,
          }),
        measure: (running, seconds) =>
          costOf(running.pid, bench.origin, () => definition.work(bench, running, seconds)),
        judge: judgeHttp,
      })
  const figures = targets.map(target => ratioFigure(target, asJudged(measured)))
  return { id, title, load: definition.load(bench), columns, plotted, ...measured, figures }
}

/** A lane that was left out is judged by the reason for it. */
export function asJudged({ lanes, leftOut }: Pick<RowResult, 'lanes' | 'leftOut'>) {
  return [...lanes, ...leftOut.map(({ name, why }) => ({ name, rounds: [], faults: [why] }))]
}

async function lanesOf(bench: Bench, { tls, peers }: HttpRow): Promise<readonly Lane[]> {
  const order: Order = {
    originPort: bench.origin.port,
    certificate: tls ? bench.certificate : null,
    scratch: bench.scratch,
  }
  const others = peersAsked(bench, everyone).filter(({ name }) => !peers || peers.includes(name))
  return [await tidegateLane(bench, order), ...others.map(subject => ({ subject, order, unavailable: null }))]
}

/** More new connections to the origin than this share of the requests: they are not kept. */
const originConnectionsShareMax = 0.05
/** Pools may grow by as much in a round without being unfair. */
const originConnectionsFree = 200

/** Errors make a round worthless; connections to the origin that are not kept make it unfair. */
export function judgeHttp(rounds: readonly Sample[]): {
  faults: readonly string[]
  notes: readonly string[]
} {
  const sum = (metric: string) => rounds.reduce((total, round) => total + (round[metric] ?? 0), 0)
  const faults: string[] = []
  const [errors, opened, pieces] = [sum('errors'), sum('origin_connections'), sum('pieces')]
  if (errors > 0) faults.push(`${errors} requests failed`)
  if (rounds.length > 0 && pieces === 0) faults.push('no request was answered')
  if (opened > originConnectionsFree + pieces * originConnectionsShareMax)
    faults.push(`its connections to the origin are not kept: ${opened} for ${pieces} requests`)
  return { faults, notes: [] }
}
