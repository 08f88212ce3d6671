/** WebSocket messages over many tunnels: what one there and back costs. Tidegate follows the frames, the peers only pass bytes. */
import { costOf } from '../cost.ts'
import { ratioFigure } from '../figures.ts'
import { go, prepare } from '../load/driver.ts'
import type { TunnelsOptions, TunnelsReport } from '../load/tunnels.ts'
import { measureLanes } from '../rounds.ts'
import type { Bench, Row, RowResult } from '../row.ts'
import type { Order, Running } from '../subjects/subject.ts'
import { asJudged, busyColumn, cpuColumns, judgeHttp } from './http-row.ts'
import { everyone, peersAsked, tidegateLane } from './lanes.ts'

const payloadBytes = 64
const tunnelsInCheck = 3

export const webSocket: Row = { id: 'websocket', title: 'WebSocket echo', run }

async function run(bench: Bench): Promise<RowResult> {
  const { tunnels } = bench.settings
  const order: Order = { originPort: bench.origin.echoPort, certificate: null, scratch: bench.scratch }
  const lanes = [
    await tidegateLane(bench, order),
    ...peersAsked(bench, everyone).map(subject => ({ subject, order, unavailable: null })),
  ]
  const measured = await measureLanes(bench, lanes, {
    check: async running => {
      try {
        const { messages, errors } = await talk(running, tunnelsInCheck, 0.2)
        return messages > 0 && errors === 0 ? [] : [`${messages} messages came back, ${errors} wrong`]
      } catch (error) {
        return [(error as Error).message]
      }
    },
    measure: async (running, seconds) => {
      const options: TunnelsOptions = { port: running.port, tunnels, payloadBytes, seconds }
      const client = await prepare('./tunnels.ts', options)
      try {
        return await costOf(running.pid, bench.origin, async () => {
          const report = await go<TunnelsReport>(client)
          return { pieces: report.messages, seconds: report.seconds, more: { errors: report.errors } }
        })
      } finally {
        await client.stop()
      }
    },
    judge: judgeHttp,
  })
  const target = {
    what: "CPU per message against http-proxy-3's",
    metric: 'cpu_us',
    ours: 'tidegate',
    theirs: 'http-proxy-3',
    sense: 'at most',
    limit: 1,
  } as const
  return {
    id: webSocket.id,
    title: `WebSocket echo over ${tunnels} tunnels`,
    load: `own client and own origin: ${tunnels} tunnels, one message of ${payloadBytes} bytes under way on each`,
    columns: [...cpuColumns, { metric: 'per_second', label: 'messages/s', digits: 0 }, busyColumn],
    plotted: 'cpu_us',
    ...measured,
    figures: [ratioFigure(target, asJudged(measured))],
  }
}

async function talk({ port }: Running, tunnels: number, seconds: number): Promise<TunnelsReport> {
  const client = await prepare('./tunnels.ts', { port, tunnels, payloadBytes, seconds })
  try {
    return await go<TunnelsReport>(client)
  } finally {
    await client.stop()
  }
}
