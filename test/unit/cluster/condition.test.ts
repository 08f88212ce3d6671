import t from 'tap'
import { Condition, changesKept } from '../../../lib/cluster/condition.ts'
import { type Health, unknownHealth } from '../../../lib/cluster/health.ts'

const health = (over: Partial<Health>): Health => ({ ...unknownHealth(0), ...over })
const ejection = { from: 'all' as const, reason: 'ejected for 30s', sinceMs: 2000, untilMs: 32_000 }

t.test('the status of the checks, and its changes with their time', async t => {
  const condition = new Condition(1000)
  t.match(condition.view(), { status: 'unknown', reason: 'not checked yet', since_ms: 1000, history: [] })
  condition.setHealth(health({ status: 'healthy', reason: 'answered 200', sinceMs: 2000 }), 2000)
  condition.setHealth(health({ status: 'healthy', reason: 'answered 204', sinceMs: 2000 }), 3000)
  t.match(condition.view(), { status: 'healthy', reason: 'answered 204', since_ms: 2000 })
  t.strictSame(condition.view().history, [
    { at: '1970-01-01T00:00:02.000Z', from: 'unknown', to: 'healthy', reason: 'answered 200' },
  ])
})

t.test('an ejected backend is unhealthy, whatever its checks say', async t => {
  const condition = new Condition(0)
  condition.setHealth(health({ status: 'healthy', reason: 'answered 200' }), 1000)
  t.match(condition.setEjection(ejection, 2000), {
    from: 'healthy',
    to: 'unhealthy',
    reason: 'ejected for 30s',
  })
  t.equal(condition.setHealth(health({ status: 'degraded', reason: 'slowly' }), 3000), null)
  t.match(condition.view(), {
    status: 'unhealthy',
    reason: 'ejected for 30s',
    since_ms: 2000,
    ejected_until: '1970-01-01T00:00:32.000Z',
  })
  t.match(condition.setEjection(null, 32_000), { to: 'degraded', reason: 'ejection is over; slowly' })
  t.equal(condition.view().ejected_until, null)
})

t.test('an ejection that ends while it is ill is no change', async t => {
  const condition = new Condition(0)
  condition.setEjection(ejection, 2000)
  condition.setHealth(health({ status: 'unhealthy', reason: 'connect ECONNREFUSED' }), 3000)
  t.equal(condition.setEjection(null, 32_000), null)
  t.match(condition.view(), { status: 'unhealthy', reason: 'connect ECONNREFUSED' })
})

t.test('so many changes are kept', async t => {
  const condition = new Condition(0)
  for (let i = 1; i <= 30; i++)
    condition.setHealth(health({ status: i % 2 ? 'healthy' : 'unhealthy', reason: `change ${i}` }), i)
  const { history } = condition.view()
  t.equal(history.length, changesKept)
  t.equal(history[0]?.reason, 'change 11')
  t.equal(history.at(-1)?.reason, 'change 30')
})
