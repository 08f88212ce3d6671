/** Picking among very many members, and publishing a change of them: `bench/pick.ts`, inside Tidegate and without a network. */
import { fileURLToPath } from 'node:url'
import { start } from '../children.ts'
import type { Figure } from '../figures.ts'
import { inOneLine } from '../rounds.ts'
import type { Bench, LaneResult, Row, RowResult } from '../row.ts'

interface PickReport {
  readonly picks: readonly { readonly name: string; readonly microseconds: number }[]
  readonly publishes: readonly { readonly name: string; readonly milliseconds: number }[]
}

const pickLimitMicros = 2
const publishLimitMs = 20
const reportTimeoutMs = 300_000
/** Making a session's cookie is encryption, not picking: told, not judged. */
const notJudged = /first visit/

export const pick: Row = { id: 'pick', title: 'Picking among 10,000 members', run }

async function run(bench: Bench): Promise<RowResult> {
  const { lanes, fault } = await measure()
  if (fault !== null) bench.say(`  it is left out: ${fault}`)
  const judged = lanes.filter(({ name }) => !notJudged.test(name))
  return {
    id: pick.id,
    title: pick.title,
    load: '`node bench/pick.ts`, inside the process: pick, enter, leave, with every tenth member closed; a change of membership from the call to the acknowledgement of the last of two threads',
    columns: [
      { metric: 'pick_us', label: 'pick µs', digits: 2 },
      { metric: 'publish_ms', label: 'publish ms', digits: 1 },
    ],
    lanes,
    leftOut: fault === null ? [] : [{ name: 'tidegate', why: fault }],
    figures: [
      worst('slowest pick of any balancer or affinity', 'pick_us', 'µs', pickLimitMicros, judged, fault),
      worst('slowest publishing of a change', 'publish_ms', 'ms', publishLimitMs, judged, fault),
    ],
    plotted: null,
  }
}

async function measure(): Promise<{ lanes: readonly LaneResult[]; fault: string | null }> {
  const script = fileURLToPath(new URL('../inside/pick-report.ts', import.meta.url))
  const child = start('subject', [process.execPath, script])
  try {
    const { picks, publishes } = JSON.parse(await child.line(reportTimeoutMs)) as PickReport
    const lanes = picks.map(({ name, microseconds }): LaneResult => {
      const publish = publishes.find(one => one.name === name)
      const sample = { pick_us: microseconds, ...(publish ? { publish_ms: publish.milliseconds } : {}) }
      return { name, version: '', rounds: [sample], faults: [], notes: [] }
    })
    return { lanes, fault: null }
  } catch (error) {
    return { lanes: [], fault: inOneLine(error) }
  } finally {
    await child.stop()
  }
}

/** The worst of them all is the promise. */
function worst(
  what: string,
  metric: string,
  unit: string,
  limit: number,
  lanes: readonly LaneResult[],
  fault: string | null,
): Figure {
  const values = lanes
    .map(({ name, rounds }) => ({ name, value: rounds[0]?.[metric] ?? Number.NaN }))
    .filter(({ value }) => Number.isFinite(value))
    .sort((a, b) => b.value - a.value)
  const [slowest] = values
  return {
    what,
    value: slowest?.value ?? Number.NaN,
    unit,
    sense: 'at most',
    limit,
    note: slowest?.name ?? fault,
  }
}
