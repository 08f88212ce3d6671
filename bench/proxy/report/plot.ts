/** The results as one SVG: a panel a row, a bar a subject, and a mark where Tidegate's bar has to end. @pure */
import type { RowResult } from '../row.ts'
import { medianOf, number } from './tables.ts'

const width = 860
const labelWidth = 190
const valueWidth = 70
const barHeight = 18
const barGap = 6
const titleHeight = 44
const panelGap = 26
const margin = 20
const own = /^tidegate/

export interface Bar {
  readonly name: string
  readonly value: number
}

export interface Panel {
  readonly title: string
  readonly unit: string
  readonly bars: readonly Bar[]
  /** Tidegate is to stay at or below it; null: nothing is promised here. */
  readonly limit: number | null
}

/** The panels of the rows that have something to show, each with its smallest bar first; of those only that count. */
export function panelsOf(rows: readonly RowResult[]): readonly Panel[] {
  return rows.flatMap(row => {
    const { plotted, lanes, columns, title } = row
    if (plotted === null) return []
    const bars = lanes
      .filter(({ faults }) => faults.length === 0)
      .map(lane => ({ name: lane.name, value: medianOf(lane, plotted) }))
      .filter(({ value }) => Number.isFinite(value))
      .sort((a, b) => a.value - b.value)
    if (bars.length === 0) return []
    const unit = columns.find(({ metric }) => metric === plotted)?.label ?? ''
    return [{ title, unit, bars, limit: limitOf(row, bars) }]
  })
}

/** The figure is a ratio: measured is to ours as the limit is to where ours would have to be. */
function limitOf({ figures }: RowResult, bars: readonly Bar[]): number | null {
  const [figure] = figures
  const ours =
    bars.find(({ name }) => own.test(name) && name !== 'tidegate') ?? bars.find(b => own.test(b.name))
  if (!figure || !ours || !Number.isFinite(figure.value) || figure.value === 0) return null
  return (ours.value * figure.limit) / figure.value
}

export function svg(panels: readonly Panel[]): string {
  let top = margin
  const parts: string[] = []
  for (const panel of panels) {
    parts.push(drawPanel(panel, top))
    top += panelHeight(panel) + panelGap
  }
  const height = Math.max(margin * 2, top - panelGap + margin)
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="13"><title>CPU time, latency and memory of Tidegate beside other proxies</title>
<rect width="${width}" height="${height}" fill="#ffffff"/>
${parts.join('\n')}
</svg>
`
}

function panelHeight({ bars }: Panel): number {
  return titleHeight + bars.length * (barHeight + barGap)
}

function drawPanel({ title, unit, bars, limit }: Panel, top: number): string {
  const room = width - labelWidth - valueWidth - margin * 2
  const most = Math.max(...bars.map(({ value }) => value), limit ?? 0, Number.MIN_VALUE)
  const length = (value: number) => Math.max(1, (value / most) * room)
  const left = margin + labelWidth
  const lines = [
    text(margin, top + 14, title, 'font-weight="600" fill="#1f2933"'),
    text(margin, top + 31, `${unit}, smaller is better`, 'fill="#616e7c" font-size="11"'),
  ]
  bars.forEach(({ name, value }, i) => {
    const y = top + titleHeight + i * (barHeight + barGap)
    const mine = own.test(name)
    const end = left + length(value)
    lines.push(
      text(left - 8, y + 13, name, `text-anchor="end" fill="#1f2933"${mine ? ' font-weight="600"' : ''}`),
      `<rect x="${left}" y="${y}" width="${fixed(length(value))}" height="${barHeight}" rx="2" fill="${mine ? '#0b7285' : '#adb5bd'}"/>`,
      text(end + 6, y + 13, number(value, value < 10 ? 2 : 1), 'fill="#1f2933"'),
    )
  })
  if (limit !== null) {
    const x = fixed(left + length(limit))
    const bottom = top + titleHeight + bars.length * (barHeight + barGap) - barGap + 2
    lines.push(
      `<line x1="${x}" y1="${top + titleHeight - 3}" x2="${x}" y2="${bottom}" stroke="#c92a2a" stroke-dasharray="4 3"/>`,
      text(Number(x), top + titleHeight - 6, 'target', 'fill="#c92a2a" font-size="11" text-anchor="middle"'),
    )
  }
  return `<g>${lines.join('')}</g>`
}

function text(x: number, y: number, content: string, attributes: string): string {
  return `<text x="${fixed(x)}" y="${fixed(y)}" ${attributes}>${escaped(content)}</text>`
}

function fixed(value: number): string {
  return String(Math.round(value * 10) / 10)
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
