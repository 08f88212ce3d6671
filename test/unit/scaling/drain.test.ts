import t from 'tap'
import { withinGrace } from '../../../lib/scaling/steps/drain.ts'
import type { JournalEntry } from '../../../lib/store/store.ts'
import { drainPolicy } from '../../support/drain-policy.ts'

const entry = (step: string, kind: JournalEntry['kind'], atMs: number): JournalEntry => ({
  operation: 'op1',
  seq: atMs,
  step,
  kind,
  data: {},
  atMs,
})

t.test('a drain has what is left of its grace period, in whatever process it began', async t => {
  const policy = drainPolicy({ gracePeriodMs: 30_000 })
  const left = (journal: readonly JournalEntry[], nowMs: number) =>
    withinGrace(policy, journal, nowMs)?.gracePeriodMs
  const begun = [entry('fence', 'started', 500), entry('drain', 'started', 1_000)]
  t.equal(left([], 9_000), 30_000, 'it has not begun')
  t.equal(left(begun, 1_000), 30_000)
  t.equal(left(begun, 11_000), 20_000)
  t.equal(
    left([...begun, entry('drain', 'started', 10_000)], 11_000),
    20_000,
    'a second attempt gets no more',
  )
  t.equal(left(begun, 50_000), 0, 'it is over')
  t.equal(left(begun, 500), 30_000, 'the clock was set back')
  t.equal(withinGrace(null, begun, 11_000), null, 'there is none')
})
