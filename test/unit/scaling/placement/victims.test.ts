/** Who leaves, who never does, and when a scale-in is given up. */
import t from 'tap'
import type { InstanceFacts } from '../../../../lib/scaling/facts.ts'
import {
  type LoadSample,
  loadReturned,
  samplesNeeded,
} from '../../../../lib/scaling/placement/load-returned.ts'
import { chooseVictims } from '../../../../lib/scaling/placement/victims.ts'
import { planOf, type Situation } from '../../../../lib/scaling/plan.ts'
import { instanceFacts as facts } from '../../../support/instance-facts.ts'

const original = facts('original', { origin: 'created', created_at_ms: 0 })
const leaving = (all: readonly InstanceFacts[], count: number, protectOriginal = false) =>
  chooseVictims(all, count, protectOriginal).victims.map(({ id }) => id)

t.test('useless first, then least to lose, the last original at last', async t => {
  const all = [
    original,
    facts('talking', { in_flight: 1 }),
    facts('remembering', { sessions: 2 }),
    facts('streaming', { tunnels: 3 }),
    facts('idle-old', { created_at_ms: 2 }),
    facts('idle-young', { created_at_ms: 3 }),
    facts('sick', { healthy: false, in_flight: 9 }),
    facts('evacuated', { node_closed: true, in_flight: 5 }),
  ]
  const order = ['sick', 'evacuated', 'idle-young', 'idle-old', 'talking', 'remembering', 'streaming']
  t.strictSame(leaving(all, 7), order)
  t.strictSame(leaving(all, 2), order.slice(0, 2))
  t.ok(leaving(all, 8).includes('original'), 'when everybody leaves, everybody leaves')
})

t.test('of those with the same to lose: the costliest node, then the fullest zone', async t => {
  const cheap = facts('cheap', { hourly: 1, zone: 'a' })
  t.strictSame(leaving([original, cheap, facts('costly', { hourly: 2, zone: 'b' })], 1), ['costly'])
  const zones = ['a1', 'a2', 'a3', 'b1', 'b2'].map(id => facts(id, { zone: id[0]! }))
  t.strictSame(
    leaving([original, ...zones], 4).map(id => id[0]),
    ['a', 'b', 'a', 'b'],
  )
})

t.test('never a protected one, one that is being saved, or the source', async t => {
  const all = [original, facts('p', { protected: true }), facts('s', { saving: true }), facts('v')]
  t.strictSame(leaving(all, 3), ['v'])
  t.strictSame(leaving([original], 1), ['original'])
  t.strictSame(leaving([original], 1, true), [])
  const { candidates } = chooseVictims(all, 1)
  t.match(candidates, [
    { id: 'v', chosen: true, kept: null, score: 0 },
    { id: 'original', chosen: false, kept: /longest memory/ },
    { id: 'p', chosen: false, kept: 'protected' },
    { id: 's', kept: /snapshot/ },
  ])
  const noOriginal = [facts('old', { created_at_ms: 0 }), facts('sick', { healthy: false }), facts('young')]
  t.strictSame(leaving(noOriginal, 2), ['sick', 'young'], 'the last healthy one stays')
})

t.test(
  'who serves on a node that cannot be asked stays; who serves nobody there leaves after those who can be stopped',
  async t => {
    const unknown = (id: string, over: Partial<InstanceFacts> = {}) =>
      facts(id, { reality: 'unknown', ...over })
    const all = [
      original,
      unknown('serving'),
      facts('talking', { in_flight: 7 }),
      unknown('silent', { healthy: false, state: 'down' }),
      facts('dead', { healthy: false, reality: 'gone', in_flight: 9 }),
    ]
    t.strictSame(leaving(all, 5), ['dead', 'silent', 'original', 'talking'])
    t.strictSame(leaving(all, 3), ['dead', 'silent', 'talking'])
    const { candidates } = chooseVictims(all, 4)
    t.match(candidates.slice(3), [
      { id: 'original', kept: /the source/ },
      { id: 'serving', useful: true, chosen: false, kept: /node cannot be asked/ },
    ])
    t.strictSame(leaving([unknown('last'), facts('sick', { healthy: false })], 1), ['sick'])
    t.strictSame(
      leaving([unknown('a'), unknown('b')], 1),
      [],
      'nor the last healthy one, whoever can be asked',
    )
  },
)

t.test('a target that the protected stand in the way of is refused, with who and why', async t => {
  const policy = {
    ...{ minInstances: 1, maxInstances: 9, targetCpuUtilization: 0.6 },
    ...{ scaleInCooldownSeconds: 0, scaleOutCooldownSeconds: 0 },
  }
  const instances = [original, facts('p', { protected: true, in_flight: 2 }), facts('v', { in_flight: 1 })]
  const situation: Situation = { cluster: 'web', policy, cloneFrom: 'live', instances, golden: null }
  const asked = { type: 'scale_in', immediate: false, drain_connections: true } as const
  const to = (target_count: number) => planOf({ ...asked, target_count }, situation)
  t.match(to(2), { victims: [{ id: 'v' }], in_flight: 3, candidates: { length: 3 } })
  t.throws(() => to(1), {
    code: 'instances_protected',
    message: /p \(protected\).*ask for 2/,
    details: { needed: 2, found: 1 },
  })
  const apart = [...instances.slice(0, 2), facts('far', { reality: 'unknown' })]
  t.throws(() => planOf({ ...asked, target_count: 2 }, { ...situation, instances: apart }), {
    code: 'hypervisor_unreachable',
    message:
      /far \(its node cannot be asked, so it could not be stopped\) must stay; bring the node back.*ask for 3/,
  })
})

t.test('load has returned when every one of the last samples says so', async t => {
  const samples = (...inFlight: number[]): LoadSample[] => inFlight.map(n => ({ inFlight: n, remaining: 2 }))
  const verdict = (all: LoadSample[], planned = 0, threshold = 10) =>
    loadReturned(all, planned, threshold).returned
  t.equal(samplesNeeded, 4)
  t.ok(verdict(samples(0, 20, 20, 25, 30)))
  t.notOk(verdict(samples(20, 20, 20)), 'too few')
  t.notOk(verdict(samples(20, 20, 19, 20)), 'a dip')
  t.notOk(verdict(samples(20, 20, 20, 20), 15), 'that load was there when it was planned')
  t.notOk(verdict(samples(99, 99, 99, 99), 0, 0), 'switched off')
  t.ok(verdict([...Array(4)].map(() => ({ inFlight: 10, remaining: 0 }))), 'nobody else is there')
  t.equal(loadReturned(samples(0, 0, 0, 30), 0, 10).perInstance, 15)
})
