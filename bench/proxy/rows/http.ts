/** The rows of plain HTTP: GET, GET at a fixed rate, POST, a large answer, a connection for each request. */
import type { Work } from '../cost.ts'
import { go, prepare } from '../load/driver.ts'
import type { OpenLoopOptions, OpenLoopReport } from '../load/open-loop.ts'
import type { LoadReport } from '../load/parse.ts'
import { postScript, type WrkOptions, wrk, wrkCommand } from '../load/wrk.ts'
import { largeBytes } from '../origin/origin.ts'
import type { Row } from '../row.ts'
import { busyColumn, cpuColumns, httpRow, keptColumn } from './http-row.ts'

const MiB = 2 ** 20
const postBytes = 10 * 1_024
const largeConnections = 16

const rate = { metric: 'per_second', label: 'requests/s', digits: 0 }
const p99 = { metric: 'p99_ms', label: 'p99 ms', digits: 2 }
const throughput = { metric: 'mib_per_second', label: 'MiB/s', digits: 0 }
const command = (options: WrkOptions) => `\`${wrkCommand(options).join(' ')}\``
const example = 'http://127.0.0.1:PORT'

/** `bytes`: of the body that a request moves. */
export function workOf({ requests, seconds, p99Ms, errors }: LoadReport, bytes = 0): Work {
  const more = { p99_ms: p99Ms, errors, mib_per_second: (requests * bytes) / seconds / MiB }
  return { pieces: requests, seconds, more }
}

export const get: Row = httpRow({
  id: 'get',
  title: 'GET, 100-byte answer, keep-alive',
  load: ({ settings: { connections, seconds } }) => command({ url: `${example}/`, connections, seconds }),
  needs: 'wrk',
  columns: [...cpuColumns, rate, p99, busyColumn, keptColumn],
  plotted: 'cpu_us',
  targets: [
    {
      what: "CPU per request against HAProxy's",
      metric: 'cpu_us',
      ours: 'tidegate',
      theirs: 'haproxy',
      sense: 'at most',
      limit: 1.4,
    },
    {
      what: "CPU per request against http-proxy-3's",
      metric: 'cpu_us',
      ours: 'tidegate',
      theirs: 'http-proxy-3',
      sense: 'at most',
      limit: 0.2,
    },
  ],
  work: async ({ settings: { connections } }, { port }, seconds) =>
    workOf(await wrk({ url: `http://127.0.0.1:${port}/`, connections, seconds })),
})

export const fixedRate: Row = httpRow({
  id: 'p99',
  title: 'GET, 100-byte answer, at the same fixed rate',
  load: ({ settings }) =>
    `own open loop, ${settings.rate} requests a second over ${settings.connections} keep-alive connections; a latency runs from the moment its request was due`,
  columns: [
    { metric: 'p50_ms', label: 'p50 ms', digits: 2 },
    p99,
    { metric: 'p999_ms', label: 'p99.9 ms', digits: 2 },
    { metric: 'late_p99_ms', label: 'client late p99 ms', digits: 2 },
    ...cpuColumns,
    busyColumn,
    keptColumn,
  ],
  plotted: 'p99_ms',
  targets: [
    {
      what: "p99 against HAProxy's at the same rate",
      metric: 'p99_ms',
      ours: 'tidegate',
      theirs: 'haproxy',
      sense: 'at most',
      limit: 2,
    },
  ],
  work: async ({ settings }, { port }, seconds) => {
    const options: OpenLoopOptions = {
      port,
      connections: settings.connections,
      rate: settings.rate,
      seconds,
    }
    const client = await prepare('./open-loop.ts', options)
    try {
      const report = await go<OpenLoopReport>(client)
      const { requests, p50Ms, p99Ms, p999Ms, lateP99Ms, errors } = report
      const more = { p50_ms: p50Ms, p99_ms: p99Ms, p999_ms: p999Ms, late_p99_ms: lateP99Ms, errors }
      return { pieces: requests, seconds, more }
    } finally {
      await client.stop()
    }
  },
})

export const post: Row = httpRow({
  id: 'post',
  title: 'POST, 10 KiB body',
  load: ({ settings: { connections, seconds } }) =>
    `${command({ url: `${example}/post`, connections, seconds, script: 'post.lua' })}, which posts ${postBytes} bytes`,
  needs: 'wrk',
  columns: [...cpuColumns, rate, throughput, p99, busyColumn, keptColumn],
  plotted: 'cpu_us',
  targets: againstNginx('POST 10 KiB'),
  work: async ({ settings: { connections }, scratch }, { port }, seconds) => {
    const script = postScript(scratch, postBytes)
    return workOf(
      await wrk({ url: `http://127.0.0.1:${port}/post`, connections, seconds, script }),
      postBytes,
    )
  },
})

export const large: Row = httpRow({
  id: 'large',
  title: 'GET, 1 MiB answer',
  load: ({ settings: { seconds } }) =>
    command({ url: `${example}/1m`, connections: largeConnections, seconds }),
  needs: 'wrk',
  columns: [...cpuColumns, rate, throughput, busyColumn, keptColumn],
  plotted: 'cpu_us',
  targets: againstNginx('GET 1 MiB'),
  work: async (_bench, { port }, seconds) =>
    workOf(
      await wrk({ url: `http://127.0.0.1:${port}/1m`, connections: largeConnections, seconds }),
      largeBytes,
    ),
})

export const connect: Row = httpRow({
  id: 'connect',
  title: 'A new connection for each GET',
  load: ({ settings: { connections, seconds } }) =>
    command({ url: `${example}/`, connections, seconds, headers: { Connection: 'close' } }),
  needs: 'wrk',
  columns: [...cpuColumns, rate, busyColumn, keptColumn],
  plotted: 'cpu_us',
  targets: [
    {
      what: "CPU per connection against HAProxy's",
      metric: 'cpu_us',
      ours: 'tidegate',
      theirs: 'haproxy',
      sense: 'at most',
      limit: 2.5,
    },
  ],
  work: async ({ settings: { connections } }, { port }, seconds) => {
    const url = `http://127.0.0.1:${port}/`
    return workOf(await wrk({ url, connections, seconds, headers: { Connection: 'close' } }))
  },
})

function againstNginx(what: string) {
  const pair = { ours: 'tidegate', theirs: 'nginx' }
  return [
    {
      ...pair,
      what: `${what}: CPU per request against nginx's`,
      metric: 'cpu_us',
      sense: 'at most' as const,
      limit: 1.5,
    },
    {
      ...pair,
      what: `${what}: bytes per second against nginx's`,
      metric: 'mib_per_second',
      sense: 'at least' as const,
      limit: 0.7,
    },
  ]
}
