/** The table of `npm run bench:operations`, and the page around it. */
import { cpus, loadavg, release, totalmem } from 'node:os'
import { median, percentile } from '../proxy/stats.ts'
import type { Decision } from './decisions.ts'
import type { Recovered, Size } from './world.ts'

export interface Start {
  /** Since the process began: until its modules are loaded, it listens, and it has recovered. */
  readonly begunMs: number
  readonly listeningMs: number
  readonly recoveredMs: number
  /** What the main thread took of that: on a machine with other work it is what can be compared. */
  readonly cpuMs: number
  readonly atListening: Recovered
  readonly recovered: Recovered
}

export interface Results {
  readonly size: Size
  readonly starts: readonly Start[]
  readonly decisions: Readonly<Record<'sqlite' | 'memory', readonly Decision[]>>
  /** Milliseconds of each sync of the disk, without a store. */
  readonly disk: readonly number[]
  readonly command: string
}

export interface Row {
  readonly what: string
  readonly text: string
  readonly target: string
  /** Null: nobody promised anything. */
  readonly met: boolean | null
}

const recoverTargetMs = 2_000
const decideTargetMs = 20

export function rowsOf({ size, starts, decisions, disk }: Results): readonly Row[] {
  const well = size.clusters * (size.instances - 1)
  // As many as the death left: on a starved machine one may have ended before it.
  const left = ({ unfinished, undone }: Recovered) => unfinished + undone
  const all = starts.every(({ recovered, atListening }) => isWell(recovered, well, left(atListening)))
  return [
    startRow(
      'the process starts until it serves a thousand',
      starts.map(({ listeningMs }) => listeningMs),
      null,
    ),
    startRow(
      '… until all is recovered and reconciled',
      starts.map(({ recoveredMs }) => recoveredMs),
      recoverTargetMs,
    ),
    startRow(
      'of that, its modules are loaded',
      starts.map(({ begunMs }) => begunMs),
      null,
    ),
    startRow(
      '… and it recovers and reconciles, from opening its store on',
      starts.map(({ recoveredMs, begunMs }) => recoveredMs - begunMs),
      null,
    ),
    startRow(
      '… CPU time of its main thread until then',
      starts.map(({ cpuMs }) => cpuMs),
      null,
    ),
    {
      what: `of a thousand and what ${size.clusters} broken operations left, each start has put right`,
      ...{
        text: all ? 'everything' : JSON.stringify(starts.map(({ recovered }) => recovered)),
        target: 'everything',
        met: all,
      },
    },
    {
      ...{ what: 'a sync of this disk alone, without a store', target: '', met: null },
      text: spread(disk),
    },
    ...(['sqlite', 'memory'] as const).flatMap(store => decisionRows(store, decisions[store])),
  ]
}

/** At least `well` serve, and nothing of what was broken is left. */
export function isWell(recovered: Recovered, well: number, operations: number): boolean {
  const { serving, paused, strays, unfinished, undone } = recovered
  return serving >= well && paused + strays + unfinished === 0 && undone === operations
}

function startRow(what: string, times: readonly number[], targetMs: number | null): Row {
  const slowest = Math.max(...times)
  const met = targetMs === null ? null : slowest <= targetMs
  const text = `median ${whole(median(times))} ms, slowest ${whole(slowest)} ms`
  return { what, text, target: targetMs === null ? '' : `≤ ${targetMs} ms`, met }
}

function decisionRows(store: 'sqlite' | 'memory', decisions: readonly Decision[]): readonly Row[] {
  const where = store === 'sqlite' ? 'SQLite on disk' : 'store in memory'
  const row = (what: string, key: keyof Decision, targetMs: number | null): Row => {
    const times = decisions.map(one => one[key])
    const met = targetMs === null ? null : percentile(times.toSorted(byValue), 0.99) <= targetMs
    const target = targetMs === null ? '' : `p99 ≤ ${targetMs} ms`
    return { what: `${where}: ${what}`, text: spread(times), target, met }
  }
  return [
    row('decision → operation in the store', 'journaledMs', decideTargetMs),
    row('decision → first step begun, and in the journal', 'startedMs', decideTargetMs),
    row('decision → first act on a hypervisor', 'actedMs', null),
  ]
}

const byValue = (a: number, b: number) => a - b

function spread(times: readonly number[]): string {
  const ordered = times.toSorted(byValue)
  return `p50 ${tenth(percentile(ordered, 0.5))} ms, p99 ${tenth(percentile(ordered, 0.99))} ms`
}

export function pageOf(results: Results, rows: readonly Row[]): string {
  const { size, starts, decisions, command } = results
  const verdict = ({ met }: Row) => (met === null ? '' : met ? 'met' : '**missed**')
  return `# What operations cost the controller

Written by \`${command}\` on ${new Date().toISOString().slice(0, 10)}: ${cpus().length} × ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()},
Node ${process.version}; load of the machine at the end ${loadavg()[0]!.toFixed(1)}.

| | measured | target | |
|---|---|---|---|
${rows.map(row => `| ${row.what} | ${row.text} | ${row.target} | ${verdict(row)} |`).join('\n')}

**The world.** ${size.clusters} clusters on ${size.nodes} nodes with ${size.clusters * size.instances} instances. The nodes are those of the [simulator](simulator.md): each stage of an act, and
each look at a node, takes 5 ms. All else is real: the store with its syncs, two data-plane threads, and a socket behind each
instance, which is asked for its health every two seconds.

**The start.** ${starts.length} times, each in a new process, over the same files. The former process was killed in the middle of ${size.clusters} operations, one in
each cluster, half of them scale-outs and half replaces, with snapshots taken and clones half made. One member of each cluster is
dead, ${size.clusters / 4} are paused, and there is one orphan in each. Recovered is: every one of the others serves, and was asked for its health; the
operations are undone; the dead are out; those paused run; the orphans are gone.

**The decision.** ${decisions.sqlite.length} times, one more or one less in each cluster in turn, beside the thousand. It begins with the call that carries out the
command. Before it is in the store the nodes are looked at (5 ms), a place or a victim is found, and what cannot be done is refused. With SQLite it waits for one sync of the disk.
`
}

const whole = (value: number) => String(Math.round(value))
const tenth = (value: number) => value.toFixed(1)
