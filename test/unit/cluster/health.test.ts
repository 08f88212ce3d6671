import t from 'tap'
import {
  type Health,
  type HealthRules,
  observe,
  unknownHealth,
  type Verdict,
} from '../../../lib/cluster/health.ts'

const rules: HealthRules = { healthyThreshold: 2, unhealthyThreshold: 3, slowRatio: 0.5, timeoutMs: 1000 }

const results: Readonly<Record<string, Verdict>> = {
  '+': { ok: true, reason: 'answered 200', says: 'ready', tookMs: 500 },
  '-': { ok: false, reason: 'connect ECONNREFUSED', tookMs: 1 },
  '!': { ok: false, reason: 'answered 503', says: 'ready', tookMs: 1 },
  '~': { ok: false, reason: 'no answer within 1s', silent: true, tookMs: 1000 },
  // Silence, while its exchanges end well.
  b: { ok: false, reason: 'no answer within 1s', silent: true, serves: true, tookMs: 1000 },
  s: { ok: true, reason: 'answered 200', says: 'ready', tookMs: 501 },
  D: { ok: true, reason: 'answered 200 and said degraded', says: 'degraded', tookMs: 1 },
  L: { ok: true, reason: 'answered 200 and said draining', says: 'draining', tookMs: 1 },
}

/** Feeds results, one a second; the status after each: ? + g (degraded) -. */
const run = (row: string, from: Health = unknownHealth(0), by = rules) => {
  let health = from
  let trail = ''
  for (const [second, result] of [...row].entries()) {
    health = observe(health, results[result]!, by, second * 1000)
    trail += { unknown: '?', healthy: '+', degraded: 'g', unhealthy: '-' }[health.status]
  }
  return { health, trail }
}

const trails = (t: Tap, rows: Readonly<Record<string, string>>, by = rules) => {
  for (const [row, trail] of Object.entries(rows)) t.equal(run(row, unknownHealth(0), by).trail, trail, row)
}
type Tap = { equal: (found: unknown, wanted: unknown, name: string) => unknown }

t.test(
  'one pass is enough for the unknown, three fails in a row for the healthy, two passes for the ill',
  async t => {
    trails(t, { '+': '+', '+---': '+++-', '+---++': '+++--+', '+---+-++': '+++----+' })
  },
)

t.test('the unknown needs the whole row of fails too', async t => {
  trails(t, { '---': '??-', '--+': '??+', '~~~': '??-', '~+': '?+' })
})

t.test('a row that is broken begins anew', async t => {
  trails(t, { '+--+--+---': '+++++++++-' })
})

t.test('silence degrades at once, a pass takes that back, a refusal does not', async t => {
  trails(t, { '+~': '+g', '+~+': '+g+', '+~-+': '+gg+', '+~~~': '+gg-', '+-~': '++g' })
})

t.test('silence of one that serves meanwhile degrades, and never makes ill', async t => {
  trails(t, { '+bbbbbbbb': '+gggggggg', '+bbbb+': '+gggg+', b: '?', bbbb: '????', 'bb+': '??+' })
  trails(t, { '+bbb~~~': '+ggggg-', '+~b~b~': '+gggg-' })
  trails(t, { '+---b': '+++--', '+---+b+': '+++----', '+---b++': '+++---+' })
  t.match(run('+b').health.reason, 'no answer within 1s, but its exchanges are served')
  const serving = { ...results['!']!, serves: true }
  let health = run('+').health
  for (let i = 0; i < 3; i++) health = observe(health, serving, rules, 0)
  t.equal(health.status, 'unhealthy', 'a bad answer counts, whatever its exchanges say')
  for (const word of ['-', '!'] as const) t.equal(run(`+bb${word}${word}${word}`).trail, '+gggg-', word)
})

t.test('slow in a row degrades, quick in a row takes it back', async t => {
  trails(t, { '+sss': '+++g', '+ss+s': '+++++', '+sss+': '+++gg', '+sss++': '+++gg+', '+sss+s+': '+++gggg' })
  trails(t, { '+sss---': '+++ggg-', '+sss---++': '+++ggg--+' })
  trails(t, { '+sssss': '++++++' }, { ...rules, slowRatio: 0 })
  t.match(run('+sss').health.reason, 'answered 200, slowly')
})

t.test('a pass of unknown length says nothing of its pace', async t => {
  const { health } = run('+ss')
  const strained = observe(health, { ok: true, reason: 'answered 200' }, rules, 0)
  t.equal(observe(strained, results.s!, rules, 0).status, 'degraded')
})

t.test('its own word counts at once and until it says another', async t => {
  trails(t, {
    D: 'g',
    '+D': '+g',
    '+DD+': '+gg+',
    '+D-': '+gg',
    '+D!': '+g+',
    '+D---+': '+ggg--',
  })
  const says = (row: string) => run(row).health.says
  t.equal(says('+L'), 'draining')
  t.equal(says('+L-~'), 'draining', 'no answer takes nothing back')
  t.equal(says('+L!'), 'ready', 'a bad answer without the word does')
  t.equal(says('+L+'), 'ready')
  t.equal(run('+L').trail, '++', 'who asks to be drained is well')
})

t.test('merely silent: ill, and nothing but silence speaks for it', async t => {
  const silent = (row: string) => run(row).health.silent
  t.notOk(silent('+~~'), 'not ill yet')
  t.ok(silent('+~~~'))
  t.notOk(silent('+-~~'), 'somebody refused')
  t.ok(silent('+-~~~'))
  t.notOk(silent('+~~~-'), 'it has ended')
  t.notOk(silent('+~~~!'), 'it answers')
  t.notOk(silent('+~~~+'), 'it comes back')
  t.notOk(silent('+bbb'), 'it serves')
  t.ok(silent('+bbb~~~'), 'and then no more')
})

t.test('since when, and why', async t => {
  const { health } = run('++---')
  t.match(health, { status: 'unhealthy', sinceMs: 4000, reason: 'connect ECONNREFUSED' })
  t.match(run('!', health).health, { status: 'unhealthy', sinceMs: 4000, reason: 'answered 503' })
})

t.test('thresholds of one', async t => {
  trails(t, { '-+': '-+', '+~': '+-', 's+': 'g+' }, { ...rules, healthyThreshold: 1, unhealthyThreshold: 1 })
})
