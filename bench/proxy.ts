/**
 * `npm run bench:proxy`: what Tidegate costs beside HAProxy, nginx, Caddy and the proxies of Node, one core each, side by side in
 * one run. Prints a table for each row and whether each target is met; writes bench/results/proxy.{json,md,svg}, and with
 * `--write-docs` docs/performance.{md,svg}. `--help` tells the options. Ends with 1 when a target was measured and missed.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeCertificate } from './proxy/certificate.ts'
import { has, pinned } from './proxy/children.ts'
import { verdict } from './proxy/figures.ts'
import { machine, versions } from './proxy/machine.ts'
import { parseOptions, type Settings, usage } from './proxy/options.ts'
import { startOrigin } from './proxy/origin/origin.ts'
import {
  allFigures,
  performanceDocument,
  remarksOf,
  resultDocument,
  summary,
} from './proxy/report/document.ts'
import { panelsOf, svg } from './proxy/report/plot.ts'
import { aligned, figureCells, rowCells } from './proxy/report/tables.ts'
import type { Bench, BenchResult, RowResult } from './proxy/row.ts'
import { rows } from './proxy/rows/all.ts'

const say = (line: string) => void process.stdout.write(`${line}\n`)

// A program that does not end must not keep the bench waiting.
process.exit(await main(process.argv.slice(2)))

async function main(args: readonly string[]): Promise<number> {
  try {
    const { settings, help } = parseOptions(
      args,
      rows.map(({ id }) => id),
    )
    if (help) {
      say(
        `${usage}\nrows:\n${aligned(
          rows.map(({ id, title }) => [`  ${id}`, title]),
          false,
        )}`,
      )
      return 0
    }
    if (!has('nginx')) throw new Error('the origin of all rows is nginx; get it with: npm run setup -- bench')
    if (!pinned) say('no two cores, or no taskset: nothing is pinned, and the numbers say little')
    return report(await run(settings, args))
  } catch (error) {
    process.stderr.write(`bench:proxy: ${(error as Error).message}\n`)
    return 2
  }
}

async function run(settings: Settings, args: readonly string[]): Promise<BenchResult> {
  const scratch = mkdtempSync(join(tmpdir(), 'tidegate-bench-'))
  // Whatever ends the bench, its programs end with it.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
  process.once('exit', () => rmSync(scratch, { recursive: true, force: true }))
  const certificate = makeCertificate(scratch)
  const origin = await startOrigin(scratch)
  const bench: Bench = { settings, scratch, origin, certificate, say }
  const done: RowResult[] = []
  try {
    const chosen = rows.filter(({ id }) => settings.only.length === 0 || settings.only.includes(id))
    for (const row of chosen) {
      say(`\n${row.id}: ${row.title}`)
      const result = await row.run(bench)
      show(result)
      done.push(result)
    }
  } finally {
    await origin.stop()
  }
  return {
    at: new Date().toISOString(),
    command: ['npm run bench:proxy', ...(args.length > 0 ? ['--', ...args] : [])].join(' '),
    machine: machine(),
    versions: versions(),
    settings,
    rows: done,
  }
}

function show(result: RowResult): void {
  if (result.lanes.length > 0) say(`\n${aligned(rowCells(result))}`)
  for (const remark of remarksOf(result)) say(`  ${remark}`)
}

function report(result: BenchResult): number {
  const figures = allFigures(result)
  say(`\n${aligned(figureCells(figures), false)}\n\n${summary(figures)}`)
  const directory = join(import.meta.dirname, 'results')
  mkdirSync(directory, { recursive: true })
  const plot = svg(panelsOf(result.rows))
  writeFileSync(join(directory, 'proxy.json'), `${JSON.stringify(asJson(result), null, 2)}\n`)
  writeFileSync(join(directory, 'proxy.md'), resultDocument(result))
  writeFileSync(join(directory, 'proxy.svg'), plot)
  if (result.settings.writeDocs) {
    const docs = join(import.meta.dirname, '../docs')
    writeFileSync(join(docs, 'performance.md'), performanceDocument(result))
    writeFileSync(join(docs, 'performance.svg'), plot)
  }
  return figures.some(figure => verdict(figure) === 'miss') ? 1 : 0
}

/** Each figure with its verdict; what could not be measured is null. */
function asJson(result: BenchResult): object {
  const withVerdicts = result.rows.map(row => ({
    ...row,
    figures: row.figures.map(figure => ({ ...figure, verdict: verdict(figure) })),
  }))
  return { ...result, rows: withVerdicts }
}
