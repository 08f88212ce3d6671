/** The results as rows of cells, and as text: aligned for a terminal, with pipes for Markdown. @pure */
import { type Figure, verdict } from '../figures.ts'
import type { LaneResult, RowResult } from '../row.ts'
import { median, rounded, spread } from '../stats.ts'

export type Cells = readonly (readonly string[])[]

const yardstick = 'tidegate'

/**
 * A row's table, the head first: each lane's medians, what it is of Tidegate's, how far its
 * rounds lie apart. A star: it does not count.
 */
export function rowCells({ columns, lanes: all, plotted }: RowResult): Cells {
  const lanes = all.filter(({ rounds }) => rounds.length > 0)
  const ours = lanes.find(({ name }) => name === yardstick)
  const compare = plotted !== null && ours !== undefined && lanes.length > 1
  const spreads = plotted !== null && lanes.some(({ rounds }) => rounds.length > 1)
  const head = [
    '',
    ...columns.map(({ label }) => label),
    ...(compare ? [`of ${yardstick}'s`] : []),
    ...(spreads ? ['spread'] : []),
  ]
  const body = lanes.map(lane => {
    const value = (metric: string) => medianOf(lane, metric)
    const share = compare ? value(plotted) / medianOf(ours, plotted) : Number.NaN
    return [
      lane.faults.length > 0 ? `${lane.name} *` : lane.name,
      ...columns.map(({ metric, digits }) => number(value(metric), digits)),
      ...(compare ? [`${number(share, 2)} ×`] : []),
      ...(spreads
        ? [`${number(spread(lane.rounds.map(round => round[plotted] ?? Number.NaN)) * 100, 0)} %`]
        : []),
    ]
  })
  return [head, ...body]
}

/** Figure, target, what was measured, verdict; the head first. */
export function figureCells(figures: readonly Figure[]): Cells {
  const body = figures.map(figure => [
    figure.what,
    `${figure.sense} ${figure.limit}${unitText(figure.unit)}`,
    Number.isFinite(figure.value) ? `${number(figure.value, 2)}${unitText(figure.unit)}` : '–',
    verdict(figure).toUpperCase(),
    figure.note ?? '',
  ])
  return [['figure', 'target', 'measured', 'verdict', ''], ...body]
}

export function medianOf({ rounds }: Pick<LaneResult, 'rounds'>, metric: string): number {
  return median(rounds.map(round => round[metric] ?? Number.NaN))
}

/** The first column to the left, the others to the right (or all to the left). */
export function aligned(cells: Cells, numbers = true): string {
  const widths = cells[0]!.map((_, i) => Math.max(...cells.map(line => line[i]!.length)))
  const lines = cells.map(line =>
    line
      .map((cell, i) => (numbers && i > 0 ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd(),
  )
  return lines.join('\n')
}

export function markdown(cells: Cells, numbers = true): string {
  const [head, ...body] = cells
  const rule = head!.map((_, i) => (numbers && i > 0 ? '---:' : '---'))
  const escaped = (cell: string) => cell.replaceAll('|', '\\|')
  return [head!, rule, ...body].map(line => `| ${line.map(escaped).join(' | ')} |`).join('\n')
}

export function number(value: number, digits: number): string {
  return Number.isFinite(value) ? rounded(value, digits).toFixed(digits) : '–'
}

function unitText(unit: string): string {
  return unit === '' ? '' : ` ${unit}`
}
