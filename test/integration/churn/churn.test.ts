/**
 * The churn in short: each kind of action at least once, under load, on the process driver. `npm run churn -- --minutes 30` is the
 * long one; `SEED=n` repeats the actions of a run.
 */
import t from 'tap'
import { chosenSeed } from '../../fuzz/random.ts'
import { churn } from './churn.ts'

const seed = chosenSeed()

t.test(`scaled, replaced, moved and shot at under load, seed ${seed}`, async t => {
  const report = await churn({
    // Each of the six cards, and a scale before a killing that would have met somebody who is alone.
    ...{ driver: 'process', seed, seconds: 10, actionsMin: 7, maxInstances: 4 },
    ...{ clients: 32, webSockets: 10, rate: 100 },
    ...{ ttlSeconds: 2, sessionMs: [200, 1_500], graceSeconds: 4 },
    say: line => t.comment(line),
  })
  const { faults, actions, requests, sessions, echoes, told } = report
  t.comment(JSON.stringify(report))
  t.same(faults, [], `no request failed, no session was lost, nothing is left; seed ${seed}`)
  for (const kind of ['scale', 'replace', 'drain_node', 'kill'])
    t.ok((actions[kind] ?? 0) > 0, `${kind} was among it`)
  t.ok(requests > 800 && sessions > 100, `${requests} requests of ${sessions} sessions`)
  t.ok(echoes > 100 && told > 0, `${echoes} echoes; ${told} WebSockets were told to go`)
})
