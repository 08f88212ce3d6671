/** What is a pass, what is a miss, and what may never pass for measured. */
import t from 'tap'
import { type Figure, ratioFigure, verdict } from '../../../bench/proxy/figures.ts'
import { parseOptions } from '../../../bench/proxy/options.ts'
import { inOneLine } from '../../../bench/proxy/rounds.ts'
import { median, pairedRatio, percentile, spread } from '../../../bench/proxy/stats.ts'

t.test('medians, percentiles, ratios', async t => {
  t.equal(median([3, 1, 2]), 2)
  t.equal(median([4, 1, 3, 2]), 2.5)
  t.equal(median([1, Number.NaN, 3]), 2, 'what was not measured is left out')
  t.ok(Number.isNaN(median([])))
  const hundred = Array.from({ length: 100 }, (_, i) => i + 1)
  t.equal(percentile(hundred, 0.99), 99)
  t.equal(percentile(hundred, 1), 100)
  t.equal(percentile([7], 0.5), 7)
  t.ok(Number.isNaN(percentile([], 0.99)))
  t.equal(spread([90, 100, 110]), 0.2)
  // The machine became twice as slow after the first round: the ratio does not notice.
  t.equal(pairedRatio([10, 20, 20], [5, 10, 10]), 2)
  t.equal(pairedRatio([10, 20, 60], [5, 10]), 2, 'a round that one of them missed is no pair')
})

const target = {
  what: 'CPU',
  metric: 'cpu_us',
  ours: 'tidegate',
  theirs: 'haproxy',
  sense: 'at most',
  limit: 1.4,
} as const
const lane = (name: string, micros: readonly number[], faults: readonly string[] = []) => ({
  name,
  rounds: micros.map(cpu_us => ({ cpu_us })),
  faults,
})

t.test('a ratio is judged', async t => {
  const met = ratioFigure(target, [lane('tidegate', [13, 14, 15]), lane('haproxy', [10, 10, 10])])
  t.match(met, { value: 1.4, unit: '×', note: null })
  t.equal(verdict(met), 'pass', 'the limit itself is kept')
  const missed = ratioFigure(target, [lane('tidegate', [15]), lane('haproxy', [10])])
  t.equal(verdict(missed), 'miss')
  const least = { ...target, sense: 'at least', limit: 0.7 } as const
  t.equal(verdict(ratioFigure(least, [lane('tidegate', [7]), lane('haproxy', [10])])), 'pass')
  t.equal(verdict(ratioFigure(least, [lane('tidegate', [6]), lane('haproxy', [10])])), 'miss')
})

t.test('what was not measured, or not fairly, is no pass', async t => {
  const expect = (figure: Figure, note: RegExp) => {
    t.equal(verdict(figure), 'not measured')
    t.match(figure.note, note)
  }
  expect(ratioFigure(target, [lane('tidegate', [1])]), /haproxy was not measured/)
  expect(
    ratioFigure(target, [lane('tidegate', [1]), lane('haproxy', [], ['not installed'])]),
    /not installed/,
  )
  expect(
    ratioFigure(target, [lane('tidegate', [1], ['2 requests failed']), lane('haproxy', [9])]),
    /^tidegate: 2/,
  )
  expect(
    ratioFigure(target, [lane('tidegate', [1]), lane('haproxy', [9], ['not kept'])]),
    /^haproxy: not kept/,
  )
  expect(
    ratioFigure({ ...target, metric: 'other' }, [lane('tidegate', [1]), lane('haproxy', [9])]),
    /other was not measured/,
  )
})

t.test('the command line', async t => {
  const rows = ['get', 'post']
  const { settings } = parseOptions(['--only', 'get, post', '--rounds', '3', '--write-docs'], rows)
  t.match(settings, { only: rows, rounds: 3, seconds: 3, connections: 64, engine: null, writeDocs: true })
  t.throws(() => parseOptions(['--only', 'put'], rows), /no row put; there are: get, post/)
  t.throws(() => parseOptions(['--rounds', '0'], rows), /--rounds is a whole number from 1 to 100, not 0/)
  t.throws(() => parseOptions(['--seconds', 'x'], rows), /not x/)
})

t.test('an error in one line is its cause', async t => {
  const wrapped =
    'node ended: file:1\n  code\n  ^\n\nSyntaxError: no such export\n    at link (node:1)\n\nNode.js v24'
  t.equal(inOneLine(new Error(wrapped)), 'SyntaxError: no such export')
  t.equal(inOneLine(new Error('[NOTICE] version 2.6\n[ALERT] cannot raise')), '[ALERT] cannot raise')
  t.equal(inOneLine(new Error('plain')), 'plain')
})
