/** The tables, the page and the plot say what was measured, and who does not count. */
import t from 'tap'
import { performanceDocument, resultDocument, summary } from '../../../bench/proxy/report/document.ts'
import { panelsOf, svg } from '../../../bench/proxy/report/plot.ts'
import { aligned, figureCells, markdown, rowCells } from '../../../bench/proxy/report/tables.ts'
import type { BenchResult, RowResult } from '../../../bench/proxy/row.ts'

const lane = (name: string, micros: readonly number[], faults: readonly string[] = []) => ({
  name,
  version: `${name} 1`,
  rounds: micros.map(cpu_us => ({ cpu_us })),
  faults,
  notes: [],
})
const row: RowResult = {
  id: 'get',
  title: 'GET <small>',
  load: '`wrk`',
  columns: [{ metric: 'cpu_us', label: 'CPU µs', digits: 1 }],
  lanes: [
    lane('tidegate', [20, 30, 40]),
    lane('haproxy', [20, 20, 20]),
    lane('other', [9], ['3 requests failed']),
  ],
  leftOut: [{ name: 'caddy', why: 'not installed; get it with: x' }],
  figures: [{ what: 'CPU', value: 1.5, unit: '×', sense: 'at most', limit: 1.4, note: null }],
  plotted: 'cpu_us',
}
const absent = {
  what: 'TLS',
  value: Number.NaN,
  unit: '×',
  sense: 'at most',
  limit: 2,
  note: 'a | b',
} as const

t.test("a row's table", async t => {
  const [head, ours, theirs, other] = rowCells(row)
  t.strictSame(head, ['', 'CPU µs', "of tidegate's", 'spread'])
  t.strictSame(ours, ['tidegate', '30.0', '1.00 ×', '67 %'])
  t.strictSame(theirs, ['haproxy', '20.0', '0.67 ×', '0 %'])
  t.equal(other![0], 'other *', 'a star for who does not count')
  const without = { ...row, lanes: [lane('tidegate', [])] }
  t.strictSame(rowCells(without).length, 1, 'who was never measured has no line')
})

t.test('the verdicts', async t => {
  const cells = figureCells([...row.figures, absent])
  t.strictSame(cells[1], ['CPU', 'at most 1.4 ×', '1.50 ×', 'MISS', ''])
  t.strictSame(cells[2], ['TLS', 'at most 2 ×', '–', 'NOT MEASURED', 'a | b'])
  t.match(markdown(cells, false), /\| TLS \| at most 2 × \| – \| NOT MEASURED \| a \\\| b \|/)
  t.equal(aligned(cells).split('\n').length, 3)
  t.equal(summary([...row.figures, absent]), '0 pass, 1 miss, 1 not measured')
})

t.test('the plot', async t => {
  const [panel, ...more] = panelsOf([row, { ...row, plotted: null }])
  t.strictSame(more, [], 'a row that is not to be plotted is not')
  t.strictSame(panel?.bars, [
    { name: 'haproxy', value: 20 },
    { name: 'tidegate', value: 30 },
  ])
  t.equal(panel?.limit, 28, '1.4 times what HAProxy took, where the ratio was 1.5')
  const drawn = svg([panel!])
  t.match(drawn, /^<svg xmlns=/)
  t.match(drawn, /GET &lt;small&gt;/, 'names are escaped')
  t.equal(drawn.match(/<rect /g)?.length, 3, 'a ground and two bars')
  t.notMatch(drawn, /NaN|undefined|Infinity/)
  t.notMatch(svg([]), /NaN|Infinity/, 'nothing to show is no accident')
})

t.test('the page', async t => {
  const result = {
    at: '2026-01-02T03:04:05.000Z',
    command: 'npm run bench:proxy',
    machine: { cpu: 'CPU', cores: 2, memoryGiB: 8, system: 'Linux 6', pinned: true },
    versions: { node: 'Node 24', haproxy: 'HAProxy 2.6' },
    settings: { rounds: 5, seconds: 3 },
    rows: [row],
  } as unknown as BenchResult
  for (const text of [performanceDocument(result), resultDocument(result)]) {
    t.match(text, /2026-01-02 · 2 cores, CPU, 8 GiB · Linux 6 · 5 rounds of 3 s/)
    t.match(text, /Node 24 · HAProxy 2\.6/)
    t.match(text, /\| CPU \| at most 1\.4 × \| 1\.50 × \| MISS/)
    t.match(text, /- caddy is left out: not installed/)
    t.match(text, /- other \* does not count: 3 requests failed/)
    t.notMatch(text, /NaN|undefined/)
  }
})
