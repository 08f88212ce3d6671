/** What the verbs print: tables, durations, the lines of an operation. */
import t from 'tap'
import { changedLines, endLine, operationLines } from '../../../lib/cli/steps.ts'
import { formatDuration, plural, printable, table } from '../../../lib/cli/table.ts'
import type { StepView } from '../../../lib/scaling/operation.ts'
import { anOperation, completed } from '../../support/fake-control.ts'

const at = '2026-01-02T03:04:05.000Z'
const nowMs = Date.parse(at) + 1500
const step = (over: Partial<StepView>): StepView => ({
  step: 'clone',
  status: 'done',
  started_at: at,
  ended_at: at,
  duration_ms: 340,
  attempts: 1,
  data: {},
  ...over,
})

t.test('tables line up, numbers to the right', async t => {
  t.strictSame(
    table(
      ['NAME', 'N'],
      [
        ['a', 5],
        ['long-name', 12],
      ],
    ),
    ['NAME        N', 'a           5', 'long-name  12'],
  )
  t.strictSame(table(['NAME', 'N'], [['a', null]]), ['NAME  N', 'a     -'])
  t.strictSame(table(['NAME'], []), ['NAME'])
})

t.test('durations and counts', async t => {
  t.equal(formatDuration(46), '46 ms')
  t.equal(formatDuration(7640), '7.6 s')
  t.equal(formatDuration(125_000), '2 min 5 s')
  t.equal(plural(1, 'tunnel'), '1 tunnel')
  t.equal(plural(0, 'tunnel'), '0 tunnels')
})

t.test('nothing from the network can command a terminal', async t => {
  t.equal(printable('a\u001b[2Jb\nc\u009b1m'), 'a [2Jb c 1m')
})

t.test('the list has a line a step; the one that runs counts up', async t => {
  const steps = [
    step({}),
    step({ step: 'verify', status: 'running', ended_at: null, duration_ms: null, attempts: 2 }),
  ]
  t.strictSame(operationLines(anOperation({ steps }), nowMs), [
    'scale_out web  operation op1  preparing',
    '  ✓ clone                    340 ms',
    '  … verify                    1.5 s  attempt 2',
  ])
})

t.test('elsewhere a line is added for each change, once', async t => {
  const first = anOperation({ steps: [step({ status: 'running', duration_ms: null })] })
  const second = anOperation({ steps: [step({}), step({ step: 'verify', status: 'failed' })] })
  t.equal(changedLines(null, first, nowMs).length, 2, 'title and step')
  t.strictSame(changedLines(first, second, nowMs), [
    '  ✓ clone                    340 ms',
    '  ✗ verify                   340 ms  failed',
  ])
  t.strictSame(changedLines(second, second, nowMs), [])
})

t.test('the last line says how it ended', async t => {
  t.equal(endLine(completed()), 'scale_out of web completed in 1.5 s')
  const error = { code: 'disk_full', message: 'no\nspace', details: {} }
  t.equal(endLine(completed({ status: 'failed', error })), 'scale_out of web failed in 1.5 s: no space')
})
