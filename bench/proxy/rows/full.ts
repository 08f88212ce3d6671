/** What cookie affinity, an access log and metrics cost: Tidegate with them beside Tidegate without, the same requests. */
import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { faultsOf } from '../check.ts'
import { has } from '../children.ts'
import { costOf } from '../cost.ts'
import { ratioFigure } from '../figures.ts'
import { cookieScript, wrk, wrkCommand } from '../load/wrk.ts'
import { type Measured, type Method, measureLanes, without } from '../rounds.ts'
import type { Bench, Row, RowResult, Sample } from '../row.ts'
import type { Order, Running } from '../subjects/subject.ts'
import type { TidegateOptions } from '../subjects/tidegate.ts'
import { workOf } from './http.ts'
import { asJudged, busyColumn, cpuColumns, judgeHttp } from './http-row.ts'
import { tidegateLane } from './lanes.ts'

const plain = 'tidegate'
const all = 'tidegate, all on'
const extras: TidegateOptions = { cookieAffinity: true, accessLog: true }

export const full: Row = {
  id: 'get-full',
  title: 'GET with cookie affinity, access log and metrics',
  run,
}

async function run(bench: Bench): Promise<RowResult> {
  const { connections, seconds } = bench.settings
  const measured = await compare(bench)
  const load = wrkCommand({ url: 'http://127.0.0.1:PORT/', connections, seconds, script: 'cookies.lua' })
  const target = {
    what: 'CPU per request with all on against without',
    metric: 'cpu_us',
    ours: all,
    theirs: plain,
    sense: 'at most',
    limit: 1.25,
  } as const
  return {
    id: full.id,
    title: full.title,
    load: `\`${load.join(' ')}\`, with the cookies of ${connections} sessions in turn; a log line for each request, \`/metrics\` read once a round`,
    columns: [
      ...cpuColumns,
      { metric: 'per_second', label: 'requests/s', digits: 0 },
      { metric: 'p99_ms', label: 'p99 ms', digits: 2 },
      busyColumn,
    ],
    plotted: 'cpu_us',
    ...measured,
    figures: [ratioFigure(target, asJudged(measured))],
  }
}

async function compare(bench: Bench): Promise<Measured> {
  if (!has('wrk')) return without('wrk', 'not installed; get it with: npm run setup')
  const order: Order = { originPort: bench.origin.port, certificate: null, scratch: bench.scratch }
  const first = await tidegateLane(bench, order, extras, all)
  if (first.unavailable !== null) return without(all, first.unavailable)
  return measureLanes(bench, [first, await tidegateLane(bench, order)], new Visits(bench))
}

/** The same visits to both: with the cookies of sessions that the one with affinity gave out. */
class Visits implements Method {
  readonly #bench: Bench
  #cookies: readonly string[] = []
  readonly judge = judgeHttp

  constructor(bench: Bench) {
    this.#bench = bench
  }

  /** The first that is checked is the one with everything on. */
  async check({ port, adminPort, accessLog }: Running): Promise<readonly string[]> {
    const faults = await faultsOf({ port, certificate: null, origin: this.#bench.origin })
    if (this.#cookies.length > 0 || faults.length > 0) return faults
    const { connections } = this.#bench.settings
    this.#cookies = await sessions(port, connections)
    if (this.#cookies.length < connections) return ['it gives no affinity cookie']
    const status = await scrape(adminPort)
    if (status !== 200) return [`GET /metrics is answered ${status}: not available in this build`]
    return (await linesIn(accessLog, connections)) ? [] : ['it does not log every request']
  }

  measure({ pid, port, adminPort }: Running, seconds: number): Promise<Sample> {
    const { origin, scratch, settings } = this.#bench
    return costOf(pid, origin, async () => {
      const script = cookieScript(scratch, this.#cookies)
      // More often than anybody scrapes.
      const scraped = scrape(adminPort)
      const { connections } = settings
      const work = workOf(await wrk({ url: `http://127.0.0.1:${port}/`, connections, seconds, script }))
      await scraped
      return work
    })
  }
}

/** Whether the file comes to so many lines: a log may be written a little after the answer. */
async function linesIn(file = '', count: number): Promise<boolean> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const text = await readFile(file, 'utf8').catch(() => '')
    if (text.split('\n').length > count) return true
    await delay(100)
  }
  return false
}

async function scrape(adminPort = 0): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${adminPort}/metrics`)
  await response.arrayBuffer()
  return response.status
}

/** The `Cookie` fields of so many new sessions. */
async function sessions(port: number, count: number): Promise<readonly string[]> {
  const cookies: string[] = []
  for (let i = 0; i < count; i++) {
    const response = await fetch(`http://127.0.0.1:${port}/`)
    await response.arrayBuffer()
    const cookie = response.headers.getSetCookie()[0]?.split(';', 1)[0]
    if (cookie !== undefined) cookies.push(cookie)
  }
  return cookies
}
