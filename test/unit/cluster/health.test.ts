import t from 'tap'
import { type Health, observe, unknownHealth } from '../../../lib/cluster/health.ts'

const thresholds = { healthyThreshold: 2, unhealthyThreshold: 3 }

/** Feeds `+` (pass) and `-` (fail), one a second; returns the status after each: u h d. */
const run = (results: string, from: Health = unknownHealth(0)) => {
  let health = from
  let trail = ''
  for (const [second, result] of [...results].entries()) {
    health = observe(health, { ok: result === '+', reason: `check ${second}` }, thresholds, second * 1000)
    trail += { unknown: 'u', healthy: 'h', unhealthy: 'd' }[health.status]
  }
  return { health, trail }
}

t.test(
  'one pass is enough for the unknown, three fails in a row for the healthy, two passes for the ill',
  async t => {
    t.equal(run('+').trail, 'h')
    t.equal(run('+---').trail, 'hhhd')
    t.equal(run('+---++').trail, 'hhhddh')
    t.equal(run('+---+-++').trail, 'hhhddddh')
  },
)

t.test('the unknown needs the whole row of fails too', async t => {
  t.equal(run('---').trail, 'uud')
  t.equal(run('--+').trail, 'uuh')
})

t.test('a row that is broken begins anew', async t => {
  t.equal(run('+--+--+---').trail, 'hhhhhhhhhd')
})

t.test('since when, and why', async t => {
  const { health } = run('++---')
  t.match(health, { status: 'unhealthy', sinceMs: 4000, reason: 'check 4' })
  const still = run('-', health).health
  t.match(still, { status: 'unhealthy', sinceMs: 4000, reason: 'check 0' })
})

t.test('thresholds of one', async t => {
  const one = { healthyThreshold: 1, unhealthyThreshold: 1 }
  const down = observe(unknownHealth(0), { ok: false, reason: '' }, one, 1)
  t.equal(down.status, 'unhealthy')
  t.equal(observe(down, { ok: true, reason: '' }, one, 2).status, 'healthy')
})
