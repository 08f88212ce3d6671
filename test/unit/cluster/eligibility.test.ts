import t from 'tap'
import { admission, backendState, type Facts } from '../../../lib/cluster/eligibility.ts'

const all: Facts[] = []
for (const health of ['unknown', 'healthy', 'unhealthy'] as const)
  for (const fenced of [false, true])
    for (const mark of [null, 'drain', 'maint'] as const)
      for (const warming of [false, true])
        for (const sealed of [false, true]) all.push({ health, fenced, mark, warming, sealed })

t.test('of all combinations of facts', async t => {
  t.equal(all.length, 72)
  for (const facts of all) {
    const name = JSON.stringify(facts)
    const admits = admission(facts)
    const state = backendState(facts, 0)
    t.equal(admits === 'any', state === 'ready', `${name}: everyone is admitted exactly when it is ready`)
    if (facts.mark === 'maint') t.strictSame([admits, state], ['none', 'maint'], name)
    else if (facts.health === 'unhealthy' || facts.warming) t.equal(admits, 'none', name)
    else if (facts.fenced || facts.mark) t.equal(admits, facts.sealed ? 'none' : 'bound', name)
    else t.equal(admits, 'any', name)
  }
})

t.test('the fence of scaling and the mark of the operator are independent', async t => {
  const both: Facts = { health: 'healthy', fenced: true, mark: 'drain', warming: false, sealed: false }
  t.equal(admission({ ...both, fenced: false }), 'bound')
  t.equal(admission({ ...both, mark: null }), 'bound')
  t.equal(admission({ ...both, mark: null, fenced: false }), 'any')
})

t.test('draining becomes drained by what is left', async t => {
  for (const facts of all.filter(({ fenced, mark }) => mark === 'drain' || (fenced && mark === null))) {
    t.equal(backendState(facts, 1), 'draining')
    t.equal(backendState(facts, 0), 'drained')
  }
})

t.test('warming and down', async t => {
  const facts: Facts = { health: 'unknown', fenced: false, mark: null, warming: true, sealed: false }
  t.equal(backendState(facts, 0), 'warming')
  t.equal(backendState({ ...facts, health: 'unhealthy' }, 0), 'down')
  t.equal(backendState({ ...facts, health: 'unhealthy', warming: false }, 3), 'down')
})
