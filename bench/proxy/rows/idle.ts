/**
 * What an idle client connection holds in memory. Each subject is started afresh for each round; the first connections only
 * make its heap as large as a working one's, and what the further ones add is what counts.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { faultsOf } from '../check.ts'
import type { Figure } from '../figures.ts'
import { go, prepare } from '../load/driver.ts'
import type { IdleReport } from '../load/idle.ts'
import { memoryBytes, openFilesMax } from '../proc.ts'
import { inOneLine, type Lane } from '../rounds.ts'
import type { Bench, LaneResult, LeftOut, Row, RowResult, Sample } from '../row.ts'
import { median } from '../stats.ts'
import type { Order } from '../subjects/subject.ts'
import { everyone, peersAsked, tidegateLane } from './lanes.ts'

const warmupShare = 0.2
const limitKiB = 15
const roundsMax = 3
/** Files that a process has open beside its clients. */
const filesBeside = 200
/** The memory is read when it has stopped moving. */
const settleEveryMs = 500
const settleTimesMax = 12
const settledShare = 0.003

export const idle: Row = { id: 'idle', title: 'Idle client connections', run }

async function run(bench: Bench): Promise<RowResult> {
  const { idle: count } = bench.settings
  const order: Order = { originPort: bench.origin.port, certificate: null, scratch: bench.scratch }
  const all: readonly Lane[] = [
    await tidegateLane(bench, order),
    ...peersAsked(bench, everyone).map(subject => ({ subject, order, unavailable: null })),
  ]
  const leftOut: LeftOut[] = []
  const lanes = all.filter(lane => {
    const why = reasonAgainst(lane, count)
    if (why === null) return true
    leftOut.push({ name: lane.subject.name, why })
    bench.say(`  ${lane.subject.name} is left out: ${why}`)
    return false
  })
  const results = await takeRounds(bench, lanes, count)
  return {
    id: idle.id,
    title: `${count} idle client connections`,
    load: `own client: ${Math.round(count * warmupShare)} connections that asked once and rest, then ${count} more; the growth of the process's own memory (PSS; the kernel's socket buffers are not in it)`,
    columns: [
      { metric: 'kib_each', label: 'KiB each', digits: 1 },
      { metric: 'before_mib', label: 'MiB before', digits: 0 },
      { metric: 'after_mib', label: 'MiB after', digits: 0 },
    ],
    lanes: results,
    leftOut,
    figures: [figure(results, leftOut)],
    plotted: 'kib_each',
  }
}

function reasonAgainst({ subject, unavailable }: Lane, count: number): string | null {
  if (unavailable !== null) return unavailable
  if (subject.version() === null) return `not installed; get it with: ${subject.howToGet}`
  const files = openFilesMax()
  const enough = files >= count * (1 + warmupShare) + filesBeside
  return enough ? null : `a process may open ${files} files only (ulimit -Hn)`
}

/** Interleaved; one that failed once is not tried again. */
async function takeRounds(
  bench: Bench,
  lanes: readonly Lane[],
  count: number,
): Promise<readonly LaneResult[]> {
  const rounds = Math.min(bench.settings.rounds, roundsMax)
  const taken = lanes.map(lane => ({ lane, rounds: [] as Sample[], faults: [] as string[] }))
  for (let round = 0; round < rounds; round++) {
    for (const one of taken.filter(({ faults }) => faults.length === 0)) {
      try {
        one.rounds.push(await measure(bench, one.lane, count))
      } catch (error) {
        one.faults.push(inOneLine(error))
      }
    }
    bench.say(`  round ${round + 1} of ${rounds}`)
  }
  return taken.map(({ lane: { subject }, ...held }) => ({
    name: subject.name,
    version: subject.version() ?? '',
    ...held,
    notes: [],
  }))
}

async function measure(bench: Bench, { subject, order }: Lane, count: number): Promise<Sample> {
  const running = await subject.start(order)
  try {
    const faults = await faultsOf({ port: running.port, certificate: null, origin: bench.origin })
    if (faults.length > 0) throw new Error(faults.join('; '))
    const client = await prepare('./idle.ts', { port: running.port })
    try {
      const first = Math.round(count * warmupShare)
      await go<IdleReport>(client, `open ${first}`)
      const before = await settled(running.pid)
      await go<IdleReport>(client, `open ${count}`)
      const after = await settled(running.pid)
      const { open } = await go<IdleReport>(client, 'count')
      if (open !== first + count) throw new Error(`only ${open} of ${first + count} connections stand`)
      return {
        kib_each: (after - before) / 1_024 / count,
        before_mib: before / 2 ** 20,
        after_mib: after / 2 ** 20,
      }
    } finally {
      await client.stop()
    }
  } finally {
    await running.stop()
  }
}

async function settled(pid: number): Promise<number> {
  let last = memoryBytes(pid)
  for (let time = 0; time < settleTimesMax; time++) {
    await delay(settleEveryMs)
    const now = memoryBytes(pid)
    if (Math.abs(now - last) <= last * settledShare) return now
    last = now
  }
  return last
}

function figure(lanes: readonly LaneResult[], leftOut: readonly LeftOut[]): Figure {
  const ours = lanes.find(({ name }) => name === 'tidegate')
  const fault = ours?.faults[0] ?? leftOut.find(({ name }) => name === 'tidegate')?.why ?? null
  return {
    what: 'memory of an idle client connection',
    value: fault === null && ours ? median(ours.rounds.map(round => round.kib_each!)) : Number.NaN,
    unit: 'KiB',
    sense: 'at most',
    limit: limitKiB,
    note: fault,
  }
}
