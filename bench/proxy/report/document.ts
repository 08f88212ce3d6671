/** `docs/performance.md`, and the same without the prose for `bench/results`. @pure */
import type { Figure } from '../figures.ts'
import { verdict } from '../figures.ts'
import type { BenchResult, RowResult } from '../row.ts'
import { figureCells, markdown, rowCells } from './tables.ts'

/** The whole page. It is written by the bench: what is to be said there is said here. */
export function performanceDocument(result: BenchResult): string {
  return `# What Tidegate costs

This page is written by \`npm run bench:proxy -- --write-docs\`; do not edit it by hand. \`npm run setup -- bench\` installs what it
measures beside: HAProxy, nginx and Caddy from Debian, the Node proxies from npm.

![CPU time, latency and memory of Tidegate beside other proxies](performance.svg)

## How it is measured

- **Ratios, not times.** A figure compares two proxies that ran in turns in the same run; it is the median of the ratios round by
  round. The absolute numbers belong to the machine below and to nobody else's.
- **Warm.** Each event loop of Node gets its own share of load before it is measured: it compiles its code while it runs.
- **CPU first.** What counts is user and kernel time of the proxy's process, divided by the requests that its clients counted.
  Requests per second say less: on two cores the client and the origin are often the slower side (\`busy\` is the share of its
  core that the proxy used).
- **One core each.** A proxy has the first core for itself, with one thread or worker; Tidegate's control thread is on that core
  too. The origin (nginx) and the client have the other one.
- **The same work.** Before it is measured, each proxy has to answer correctly, pass bodies and fields on unchanged, tell the origin
  the client's address, and keep its connections on both sides. In every round the origin counts the connections it is given; who
  does not keep them is not compared.
- **The columns.** \`CPU µs\` for each request, handshake or message · \`busy\` share of the proxy's core · \`to origin\` connections
  that the origin was given in a round · \`of tidegate's\` the plotted number beside Tidegate's · \`spread\` how far the rounds lie
  apart. A star: who does not count, and below the table why.
- Tidegate is started from a configuration file as its users start it, with its checks and limits on.

## The run

${machineText(result)}

## Targets

${markdown(figureTable(result.rows), false)}

${resultSections(result)}
`
}

/** The tables alone. */
export function resultDocument(result: BenchResult): string {
  return `# bench:proxy, ${result.at}

${machineText(result)}

${markdown(figureTable(result.rows), false)}

${resultSections(result)}
`
}

function machineText({ at, machine, versions, settings, command }: BenchResult): string {
  const { cpu, cores, memoryGiB, system, pinned } = machine
  const lines = [
    `\`${command}\``,
    '',
    `${at.slice(0, 10)} · ${cores} cores, ${cpu}, ${memoryGiB} GiB · ${system}${pinned ? '' : ' · **not pinned to cores**'} · ${settings.rounds} rounds of ${settings.seconds} s`,
    '',
    Object.values(versions).join(' · '),
  ]
  return lines.join('\n')
}

function figureTable(rows: readonly RowResult[]) {
  return figureCells(rows.flatMap(({ figures }) => figures))
}

function resultSections({ rows }: BenchResult): string {
  return rows
    .map(row => {
      const remarks = remarksOf(row).map(remark => `- ${remark}`)
      const parts = [
        `## ${row.title}`,
        row.load,
        ...(row.lanes.length > 0 ? [markdown(rowCells(row))] : []),
        ...(remarks.length > 0 ? [remarks.join('\n')] : []),
      ]
      return parts.join('\n\n')
    })
    .join('\n\n')
}

/** What a reader has to know of a row's numbers: who was left out, and whose are worth nothing. */
export function remarksOf({ lanes, leftOut }: RowResult): readonly string[] {
  return [
    ...leftOut.map(({ name, why }) => `${name} is left out: ${why}`),
    ...lanes.flatMap(({ name, faults }) => faults.map(fault => `${name} * does not count: ${fault}`)),
    ...lanes.flatMap(({ name, notes }) => notes.map(note => `${name}: ${note}`)),
  ]
}

export function allFigures({ rows }: BenchResult): readonly Figure[] {
  return rows.flatMap(({ figures }) => figures)
}

/** `12 pass, 2 miss, 1 not measured` */
export function summary(figures: readonly Figure[]): string {
  const count = (wanted: string) => figures.filter(figure => verdict(figure) === wanted).length
  return `${count('pass')} pass, ${count('miss')} miss, ${count('not measured')} not measured`
}
