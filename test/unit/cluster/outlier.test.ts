import t from 'tap'
import {
  clean,
  ejected,
  findingOf,
  looked,
  mayLeave,
  mostEndedWell,
  type Traffic,
  takenBack,
} from '../../../lib/cluster/outlier.ts'
import type { OutlierConfig } from '../../../lib/config/config.ts'

const config: OutlierConfig = {
  consecutiveFailures: 5,
  failureRatio: 0.5,
  minRequests: 20,
  intervalMs: 10_000,
  baseEjectionMs: 30_000,
  maxEjectionMs: 100_000,
  maxEjected: 0.3,
}
const traffic = (settled: number, failed: number, serverErrors: number, row = 0): Traffic => ({
  settled,
  failed,
  serverErrors,
  row,
})
const none = traffic(0, 0, 0)
const finding = (now: Traffic, before = none, over: Partial<OutlierConfig> = {}) =>
  findingOf(clean(before, 0), now, { ...config, ...over })

t.test('a row', async t => {
  t.equal(finding(traffic(4, 4, 0, 4)), null)
  t.match(finding(traffic(5, 5, 0, 5)), {
    reason: '5 exchanges in a row ended without an answer',
    answers: false,
  })
  t.match(finding(traffic(9, 0, 6, 6)), {
    reason: '6 exchanges in a row ended with a server error',
    answers: true,
  })
  t.match(finding(traffic(9, 3, 3, 6)), { reason: '6 exchanges in a row ended badly', answers: false })
  t.equal(finding(traffic(9, 9, 0, 9), none, { consecutiveFailures: 0 }), null)
})

t.test('a share of the exchanges since the interval began', async t => {
  t.equal(finding(traffic(19, 19, 0)), null, 'too few to say')
  t.equal(finding(traffic(20, 9, 0)), null)
  t.match(finding(traffic(20, 4, 6)), { reason: '10 of 20 exchanges ended badly', answers: true })
  t.equal(finding(traffic(120, 100, 0), traffic(100, 99, 0)), null, 'what was before does not count')
  t.equal(finding(traffic(40, 40, 0), none, { failureRatio: 0 }), null)
})

t.test('counters wrap, and may seem to step back', async t => {
  const before = traffic(2 ** 31 - 5, -(2 ** 31), 0)
  t.match(finding(traffic(-(2 ** 31) + 15, -(2 ** 31) + 10, 0), before), { reason: /^10 of 20/ })
  t.equal(finding(traffic(99, 0, 0), traffic(100, 0, 0)), null)
})

t.test('each ejection is longer, up to a limit, and good time makes the next shorter', async t => {
  const lengths: number[] = []
  let watched = clean(none, 0)
  const eject = () => {
    watched = ejected(watched, config, 0, 0)
    lengths.push(watched.untilMs!)
    watched = takenBack(watched, none, 0)
  }
  for (let i = 0; i < 5; i++) eject()
  t.strictSame(lengths, [30_000, 60_000, 90_000, 100_000, 100_000])
  for (let interval = 1; interval <= 3; interval++) watched = looked(watched, none, config, interval * 10_000)
  eject()
  t.equal(lengths.at(-1), 60_000, 'three intervals: three times less')
  for (let interval = 1; interval <= 9; interval++)
    watched = looked(watched, none, config, 30_000 + interval * 10_000)
  t.equal(watched.times, 0)
})

t.test('chance lengthens an ejection by a tenth at most', async t => {
  t.equal(ejected(clean(none, 0), config, 1000, 0.999999).untilMs, 34_000)
})

t.test('within an interval nothing is forgiven or forgotten', async t => {
  const watched = { ...clean(none, 0), times: 2 }
  t.equal(looked(watched, traffic(9, 9, 0), config, 9_999), watched)
  t.match(looked(watched, traffic(9, 9, 0), config, 10_000), {
    times: 1,
    since: { settled: 9 },
    sinceMs: 10_000,
  })
})

t.test('how many may be out at once', async t => {
  t.ok(mayLeave(2, 0, 1, config), 'one always')
  t.notOk(mayLeave(2, 1, 1, config))
  t.notOk(mayLeave(2, 0, 0, config), 'but never the last one that serves')
  t.ok(mayLeave(10, 2, 7, config))
  t.notOk(mayLeave(10, 3, 6, config))
  t.ok(mayLeave(3, 0, 2, { ...config, maxEjected: 0 }))
})

t.test('most of what ended, ended well', async t => {
  const well = (now: Traffic, before = none) => mostEndedWell(before, now)
  t.notOk(well(none), 'nothing has ended')
  t.ok(well(traffic(1, 0, 0)))
  t.ok(well(traffic(5, 1, 1)))
  t.notOk(well(traffic(4, 1, 1)), 'half is not most')
  t.notOk(well(traffic(3, 0, 2)))
  t.notOk(well(traffic(104, 4, 0), traffic(100, 0, 0)), 'what was before does not count')
  t.ok(well(traffic(-(2 ** 31) + 5, 0, 0), traffic(2 ** 31 - 5, 0, 0)), 'they wrap')
  t.notOk(well(traffic(99, 0, 0), traffic(100, 0, 0)), 'and may seem to step back')
})
