import t from 'tap'
import type { Eligibility } from '../../../lib/cluster/board.ts'
import { admission, backendState, type Facts, voteOf } from '../../../lib/cluster/eligibility.ts'

const well: Facts = {
  health: 'healthy',
  ejected: null,
  selfDrain: false,
  fenced: false,
  sealed: false,
  mark: null,
  warming: false,
  panic: false,
  allHands: false,
}

const values: { readonly [K in keyof Facts]: readonly Facts[K][] } = {
  health: ['unknown', 'healthy', 'degraded', 'unhealthy'],
  ejected: [null, 'new', 'all'],
  selfDrain: [false, true],
  fenced: [false, true],
  sealed: [false, true],
  mark: [null, 'drain', 'maint'],
  warming: [false, true],
  panic: [false, true],
  allHands: [false, true],
}

const all = Object.entries(values).reduce<Facts[]>(
  (combinations, [key, options]) =>
    combinations.flatMap(facts => options.map(option => ({ ...facts, [key]: option }))),
  [well],
)

type Rule = readonly [(facts: Facts) => boolean, Eligibility, string]

/** From the top: the first rule whose condition holds. `*`: `draining` or `drained`. */
const truth: readonly Rule[] = [
  [f => f.mark === 'maint', 'none', 'maint'],
  [f => (f.fenced || f.mark === 'drain') && f.warming, 'none', '*'],
  [f => f.selfDrain && f.warming, 'none', '*'],
  [f => f.warming && f.health === 'unhealthy', 'none', 'down'],
  [f => f.warming, 'none', 'warming'],
  [f => (f.fenced || f.mark === 'drain') && f.sealed, 'none', '*'],
  [f => (f.fenced || f.mark === 'drain') && f.panic, 'bound', '*'],
  [f => (f.fenced || f.mark === 'drain') && f.health === 'unhealthy', 'none', '*'],
  [f => (f.fenced || f.mark === 'drain') && f.ejected === 'all', 'none', '*'],
  [f => f.fenced || f.mark === 'drain', 'bound', '*'],
  [f => f.selfDrain && f.panic, 'bound', '*'],
  [f => f.selfDrain && (f.health === 'unhealthy' || f.ejected === 'all'), 'none', '*'],
  [f => f.selfDrain, 'bound', '*'],
  [f => f.panic, 'any', 'ready'],
  [f => f.health === 'unhealthy' || f.ejected === 'all', 'none', 'down'],
  [f => f.ejected === 'new', 'bound', 'down'],
  [f => f.health === 'degraded' && !f.allHands, 'spare', 'ready'],
  [() => true, 'any', 'ready'],
]

/** Those of all combinations for which `fault` says something. */
const faults = (fault: (facts: Facts) => string | null) =>
  all.flatMap(facts => {
    const text = fault(facts)
    return text === null ? [] : [`${text}: ${JSON.stringify(facts)}`]
  })

t.test('every combination of facts', async t => {
  t.equal(all.length, 2304)
  const used = new Set<Rule>()
  const wrong = faults(facts => {
    const rule = truth.find(([holds]) => holds(facts))!
    used.add(rule)
    const found = `${admission(facts)} ${backendState(facts, 0).replace('drained', '*')}`
    return found === `${rule[1]} ${rule[2]}` ? null : `${found} instead of ${rule[1]} ${rule[2]}`
  })
  t.strictSame(wrong, [])
  t.equal(used.size, truth.length, 'each rule decides something')
})

t.test('new clients are taken exactly by who is ready', async t => {
  const takesNew = (facts: Facts) => ['any', 'spare'].includes(admission(facts))
  const wrong = faults(facts =>
    takesNew(facts) === (backendState(facts, 0) === 'ready') ? null : admission(facts),
  )
  t.strictSame(wrong, [])
})

t.test('what speaks against a backend never opens it, what the cluster needs never closes it', async t => {
  const rank = (facts: Facts) => ['none', 'bound', 'spare', 'any'].indexOf(admission(facts))
  const worse: Partial<Facts>[] = [
    { health: 'unhealthy' },
    { ejected: 'all' },
    { selfDrain: true },
    { fenced: true },
    { mark: 'maint' },
    { warming: true },
    { sealed: true },
  ]
  const needs: Partial<Facts>[] = [{ panic: true }, { allHands: true }]
  for (const fact of worse) {
    const opened = faults(facts => (rank({ ...facts, ...fact }) <= rank(facts) ? null : 'opened'))
    t.strictSame(opened, [], JSON.stringify(fact))
  }
  for (const fact of needs) {
    const closed = faults(facts => (rank({ ...facts, ...fact }) >= rank(facts) ? null : 'closed'))
    t.strictSame(closed, [], JSON.stringify(fact))
  }
})

t.test(
  'the fence of scaling, the mark of the operator and the wish of the application are independent',
  async t => {
    const closed: Facts = { ...well, fenced: true, mark: 'drain', selfDrain: true }
    t.equal(admission({ ...closed, fenced: false, mark: null }), 'bound')
    t.equal(admission({ ...closed, fenced: false, selfDrain: false }), 'bound')
    t.equal(admission({ ...closed, mark: null, selfDrain: false }), 'bound')
    t.equal(admission(well), 'any')
  },
)

t.test('draining becomes drained by what is left', async t => {
  for (const facts of [{ fenced: true }, { mark: 'drain' as const }, { selfDrain: true }]) {
    t.equal(backendState({ ...well, ...facts }, 1), 'draining')
    t.equal(backendState({ ...well, ...facts }, 0), 'drained')
  }
})

t.test('only who is in rotation is counted, and an ejected one is ill', async t => {
  t.equal(voteOf(well), 'well')
  t.equal(voteOf({ ...well, health: 'unknown' }), 'well')
  t.equal(voteOf({ ...well, health: 'degraded' }), 'degraded')
  t.equal(voteOf({ ...well, health: 'unhealthy', panic: true }), 'ill')
  t.equal(voteOf({ ...well, health: 'degraded', ejected: 'new' }), 'ill')
  for (const out of [{ fenced: true }, { selfDrain: true }, { warming: true }, { mark: 'maint' as const }])
    t.equal(voteOf({ ...well, health: 'unhealthy', ...out }), null)
})
