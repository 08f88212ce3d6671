/** Two data-plane threads beside one: what the second costs, and how evenly the kernel spreads connections over them. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { faultsOf } from '../check.ts'
import { has } from '../children.ts'
import { costOf } from '../cost.ts'
import { type Figure, ratioFigure } from '../figures.ts'
import { go, prepare } from '../load/driver.ts'
import { wrk, wrkCommand } from '../load/wrk.ts'
import { inOneLine, measureLanes, without } from '../rounds.ts'
import type { Bench, Row, RowResult } from '../row.ts'
import { type Order, ownDirectory } from '../subjects/subject.ts'
import { tidegate, unavailable } from '../subjects/tidegate.ts'
import { workOf } from './http.ts'
import { asJudged, busyColumn, cpuColumns, judgeHttp } from './http-row.ts'
import { tidegateLane } from './lanes.ts'

const one = 'tidegate, 1 thread'
const two = 'tidegate, 2 threads'
/** So many that chance alone stays far from the limit. */
const connectionsSpread = 1_000
const shareMax = 0.6

export const threads: Row = { id: 'threads', title: 'Two threads against one', run }

async function run(bench: Bench): Promise<RowResult> {
  const { connections, seconds } = bench.settings
  const order: Order = { originPort: bench.origin.port, certificate: null, scratch: bench.scratch }
  const lanes = [
    await tidegateLane(bench, order, { threads: 1 }, one),
    await tidegateLane(bench, order, { threads: 2 }, two),
  ]
  const measured = has('wrk')
    ? await measureLanes(bench, lanes, {
        check: running => faultsOf({ port: running.port, certificate: null, origin: bench.origin }),
        measure: (running, roundSeconds) =>
          costOf(running.pid, bench.origin, async () => {
            const url = `http://127.0.0.1:${running.port}/`
            return workOf(await wrk({ url, connections, seconds: roundSeconds }))
          }),
        judge: judgeHttp,
      })
    : without('wrk', 'not installed; get it with: npm run setup')
  const target = {
    what: 'CPU per request of two threads against one',
    metric: 'cpu_us',
    ours: two,
    theirs: one,
    sense: 'at most',
    limit: 1.1,
  } as const
  const load = wrkCommand({ url: 'http://127.0.0.1:PORT/', connections, seconds }).join(' ')
  return {
    id: threads.id,
    title: threads.title,
    load: `\`${load}\`, both threads on one core; ${connectionsSpread} connections for their spread`,
    columns: [
      ...cpuColumns,
      { metric: 'per_second', label: 'requests/s', digits: 0 },
      { metric: 'p99_ms', label: 'p99 ms', digits: 2 },
      busyColumn,
    ],
    plotted: null,
    ...measured,
    figures: [ratioFigure(target, asJudged(measured)), await spreadFigure(bench, order)],
  }
}

async function spreadFigure(bench: Bench, order: Order): Promise<Figure> {
  const figure = (value: number, note: string): Figure => ({
    what: 'connections of the busier of two threads',
    value,
    unit: '%',
    sense: 'at most',
    limit: shareMax * 100,
    note,
  })
  try {
    const counts = await countByThread(bench, order)
    const total = counts.reduce((sum, count) => sum + count, 0)
    if (total < connectionsSpread) return figure(Number.NaN, `only ${total} connections were counted`)
    const share = Math.max(...counts) / total
    return figure(share * 100, `${counts.join(' and ')} of ${total} connections`)
  } catch (error) {
    return figure(Number.NaN, inOneLine(error))
  }
}

/** Connections that each data-plane thread accepted, told by a module that its threads load first. */
async function countByThread(bench: Bench, order: Order): Promise<readonly number[]> {
  const directory = ownDirectory(bench.scratch, 'spread')
  const options = {
    engine: bench.settings.engine,
    threads: 2,
    preload: fileURLToPath(new URL('../inside/count-connections.ts', import.meta.url)),
    env: { BENCH_COUNTS: directory },
  }
  const why = await unavailable(order, options)
  if (why !== null) throw new Error(why)
  const running = await tidegate(options).start(order)
  try {
    const client = await prepare('./idle.ts', { port: running.port })
    await go(client, `open ${connectionsSpread}`).finally(() => client.stop())
    const counts = readdirSync(directory).map(
      name =>
        readFileSync(join(directory, name), 'utf8')
          .split('\n')
          .filter(line => line === String(running.port)).length,
    )
    return counts.filter(count => count > 0)
  } finally {
    await running.stop()
  }
}
