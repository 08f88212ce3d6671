import t from 'tap'
import type { TableData } from '../../../lib/cluster/table.ts'
import { backend, clusterConfig, clusterKit } from '../../support/cluster-kit.ts'

const two = [
  { id: 'a', host: '127.0.0.1', port: 1, weight: 1 },
  { id: 'b', host: '127.0.0.1', port: 2, weight: 2 },
]
const started = (over = {}) => {
  const kit = clusterKit([clusterConfig({ backends: two, ...over })])
  kit.clusters.start([])
  kit.plane.take(kit.clusters.table())
  return kit
}

t.test('before the start: generation 1 with what the config has, ready to serve', async t => {
  const { clusters } = clusterKit([clusterConfig({ backends: two })])
  t.strictSame(clusters.ids(), ['web'])
  t.ok(clusters.has('web'))
  t.notOk(clusters.has('nope'))
  t.equal(clusters.generation(), 1)
  t.strictSame(
    clusters.table().clusters[0]?.members.map(m => [m.id, m.port, m.weight]),
    [
      ['a', 1, 1],
      ['b', 2, 2],
    ],
  )
  t.strictSame(
    clusters.backends('web').map(b => b.state),
    ['ready', 'ready'],
  )
  t.ok(Object.isFrozen(clusters.table()) && Object.isFrozen(clusters.table().clusters[0]?.members))
})

t.test('the start takes in what the store knew, in one table and unpublished', async t => {
  const { clusters, plane, moves } = clusterKit([clusterConfig({ backends: two })])
  clusters.start([
    { cluster: 'web', backend: backend('i1', { mark: 'drain' }) },
    { cluster: 'web', backend: backend('i2') },
    { cluster: 'web', backend: backend('a', { port: 9, mark: 'maint' }) },
    { cluster: 'gone', backend: backend('x') },
  ])
  t.equal(clusters.generation(), 2)
  t.strictSame(plane.generations, [])
  t.strictSame(
    clusters.backends('web').map(b => [b.id, b.port, b.state]),
    [
      ['a', 1, 'maint'],
      ['b', 2, 'ready'],
      ['i1', 8000, 'drained'],
      ['i2', 8000, 'ready'],
    ],
    "the config's address and the stored mark",
  )
  t.strictSame(moves('i2'), ['null>ready'])
})

t.test('who was just asked is asked again an interval later, give or take a half', async t => {
  const instance = { node: 'n1' }
  for (const [chance, first] of [
    [0, 1000],
    [0.999, 2998],
  ] as const) {
    const { clusters, clock, checks } = clusterKit([clusterConfig({ backends: two })], {
      random: () => chance,
    })
    clusters.start([
      { cluster: 'web', backend: backend('i1', { port: 7, instance }) },
      { cluster: 'web', backend: backend('i2', { port: 8, instance, verified: false }) },
    ])
    await clock.advance(1)
    t.ok(checks.includes(8), 'nobody knows whether it is well')
    await clock.advance(first - 3)
    t.ok(checks.includes(1))
    t.notOk(checks.includes(7))
    await clock.advance(3)
    t.ok(checks.includes(7))
    clusters.close()
  }
})

t.test('a change is one generation, acknowledged', async t => {
  const { clusters, plane, seen } = started()
  const number = await clusters.change('web', { add: [backend('c'), backend('d')], remove: ['a'] })
  t.equal(number, 2)
  t.equal(clusters.generation(), 2)
  t.strictSame(plane.ids('web'), ['b', 'c', 'd'])
  t.strictSame(plane.generations, [1, 2])
  t.strictSame(
    seen.filter(event => event.type === 'generation'),
    [{ type: 'generation', generation: 2, members: 3 }],
  )
})

t.test('concurrent changes are carried out one after another, none lost', async t => {
  const { clusters, plane } = started()
  let inside = 0
  plane.beforeTaking = async () => {
    t.equal(++inside, 1)
    await new Promise(resolve => setImmediate(resolve))
    inside--
  }
  const numbers = await Promise.all([
    clusters.change('web', { add: [backend('c')] }),
    clusters.change('web', { remove: ['a'] }),
    clusters.change('web', { add: [backend('d')], remove: ['c'] }),
  ])
  t.strictSame(numbers, [2, 3, 4])
  t.strictSame(plane.ids('web'), ['b', 'd'])
})

t.test('a word is on the board before the table, and closed only after it', async t => {
  const { clusters, plane, board } = started()
  const leaver = plane.member('a')
  plane.beforeTaking = table => {
    const added = table.clusters[0]!.members.find(member => member.id === 'c')!
    t.equal(board.eligibility(added.slot, added.epoch), 'any')
    t.equal(leaver.eligibility(), 'any')
  }
  await clusters.change('web', { add: [backend('c')], remove: ['a'] })
  t.equal(leaver.eligibility(), 'none')
  t.notOk(leaver.enter(true))
})

t.test('a faulty change changes nothing', async t => {
  const { clusters, plane } = started()
  await t.rejects(clusters.change('web', { add: [backend('c')], remove: ['x'] }), { code: 'unknown_backend' })
  await t.rejects(clusters.change('web', { add: [backend('a')] }), { code: 'backend_exists' })
  await t.rejects(clusters.change('web', { add: [backend('c'), backend('c')] }), { code: 'backend_exists' })
  await t.rejects(clusters.change('nope', {}), { code: 'unknown_cluster', message: /web/ })
  t.equal(clusters.generation(), 1)
  t.strictSame(plane.ids('web'), ['a', 'b'])
})

t.test('removed and added in one change it is a new life at another place', async t => {
  const { clusters, plane } = started()
  const before = plane.member('a')
  await clusters.change('web', { remove: ['a'], add: [backend('a', { incarnation: 'second' })] })
  const after = plane.member('a')
  t.equal(after.incarnation, 'second')
  t.notSame([before.slot, before.epoch], [after.slot, after.epoch])
  t.notOk(before.enter(true))
  t.ok(after.enter(false))
})

t.test(
  'a data plane that does not take a table: the former membership goes out, the cause comes back',
  async t => {
    const { clusters, plane, moves } = started()
    let refused: TableData | null = null
    plane.beforeTaking = table => {
      if (refused) return
      refused = table
      throw new Error('a thread died')
    }
    const keep = plane.member('a')
    await t.rejects(clusters.change('web', { add: [backend('c')], remove: ['a'] }), {
      message: 'a thread died',
    })
    t.strictSame(plane.ids('web'), ['a', 'b'])
    t.strictSame(plane.generations, [1, 3])
    t.equal(keep.eligibility(), 'any')
    t.strictSame(moves('c'), [], 'nobody was told of it')
    t.equal(await clusters.change('web', { add: [backend('c')] }), 4)
  },
)

t.test('new keys open everywhere before one seals', async t => {
  const { clusters, plane } = started()
  const seen: string[] = []
  plane.beforeTaking = table => {
    seen.push(table.affinityKeys.map(key => key.id).join())
  }
  const key = (id: number) => ({ id, key: new Uint8Array(32).fill(id) })
  t.equal(await clusters.setAffinityKeys([key(2), key(1)]), 3)
  t.equal(await clusters.setAffinityKeys([key(2)]), 4)
  t.strictSame(seen, ['1,2', '2,1', '2'])
  t.strictSame(clusters.table().affinityKeys, [key(2)])
})

t.test('fence and mark are two facts on the board, without a generation', async t => {
  const { clusters, plane, moves } = started()
  const a = plane.member('a')
  clusters.fence('web', 'a', 'scale_in')
  t.equal(a.eligibility(), 'bound')
  clusters.mark('web', 'a', 'drain')
  clusters.unfence('web', 'a')
  t.equal(a.eligibility(), 'bound', "the operator's mark stays")
  clusters.fence('web', 'a', 'scale_in')
  clusters.mark('web', 'a', null)
  t.equal(a.eligibility(), 'bound', "scaling's fence stays")
  clusters.unfence('web', 'a')
  t.equal(a.eligibility(), 'any')
  t.equal(clusters.generation(), 1)
  t.strictSame(moves('a'), ['null>ready', 'ready>drained', 'drained>ready'])
  for (const act of [
    () => clusters.fence('web', 'x', ''),
    () => clusters.unfence('web', 'x'),
    () => clusters.mark('web', 'x', null),
    () => clusters.holdHealth('web', 'x', true),
    () => clusters.backend('web', 'x'),
    () => clusters.proof('web', 'x'),
  ])
    t.throws(act, { code: 'unknown_backend' })
})

t.test('checks move a backend between ready and down', async t => {
  const { clusters, clock, health, plane, moves } = started()
  await clock.advance(3000)
  t.match(clusters.backend('web', 'a').health, { status: 'healthy', reason: 'answered 200' })
  health.set(1, { ok: false, reason: 'connect ECONNREFUSED' })
  await clock.advance(2000 * 3)
  t.match(clusters.backend('web', 'a'), {
    state: 'down',
    health: { status: 'unhealthy', reason: 'connect ECONNREFUSED' },
  })
  t.equal(plane.member('a').eligibility(), 'none')
  t.equal(plane.member('b').eligibility(), 'any')
  health.delete(1)
  await clock.advance(2000 * 2)
  t.equal(clusters.backend('web', 'a').state, 'ready')
  t.strictSame(moves('a'), ['null>ready', 'ready>down', 'down>ready'])
  clusters.close()
  t.equal(clock.pending, 0)
})

t.test('one that nobody verified warms up until its first good check, which comes at once', async t => {
  const { clusters, clock, health, plane, moves } = started()
  health.set(7, { ok: false, reason: 'answered 503' })
  await clusters.change('web', { add: [backend('c', { port: 7, verified: false })] })
  t.equal(clusters.backend('web', 'c').state, 'warming')
  t.notOk(plane.member('c').enter(true))
  await clock.advance(1)
  t.equal(clusters.backend('web', 'c').health.reason, 'answered 503')
  health.delete(7)
  await clock.advance(2000)
  t.equal(clusters.backend('web', 'c').state, 'ready')
  t.ok(plane.member('c').enter(false))
  t.strictSame(moves('c'), ['null>warming', 'warming>ready'])
})

t.test('maint: nobody is admitted, nothing is checked; ready again it warms up first', async t => {
  const { clusters, clock, plane, checks, moves } = started()
  await clock.advance(3000)
  clusters.mark('web', 'a', 'maint')
  t.equal(plane.member('a').eligibility(), 'none')
  checks.length = 0
  await clock.advance(20_000)
  t.notOk(checks.includes(1))
  t.ok(checks.includes(2))
  clusters.mark('web', 'a', null)
  t.equal(clusters.backend('web', 'a').state, 'warming')
  await clock.advance(1)
  t.equal(clusters.backend('web', 'a').state, 'ready')
  t.strictSame(moves('a'), ['null>ready', 'ready>maint', 'maint>warming', 'warming>ready'])
})

t.test('while anybody holds its health a silent backend is not found dead', async t => {
  const { clusters, clock, health } = started()
  await clock.advance(3000)
  clusters.holdHealth('web', 'a', true)
  clusters.holdHealth('web', 'a', true, 'another operation')
  health.set(1, { ok: false, reason: 'no answer within 1s', silent: true })
  await clock.advance(30_000)
  clusters.holdHealth('web', 'a', false)
  await clock.advance(30_000)
  t.equal(clusters.backend('web', 'a').state, 'ready', 'the other one still holds it')
  clusters.holdHealth('web', 'a', false, 'another operation')
  await clock.advance(7000)
  t.equal(clusters.backend('web', 'a').state, 'down')
})

t.test('a held backend that refuses connections is found dead', async t => {
  const { clusters, clock, health } = started()
  await clock.advance(3000)
  clusters.holdHealth('web', 'a', true)
  health.set(1, { ok: false, reason: 'connect ECONNREFUSED' })
  await clock.advance(7000)
  t.equal(clusters.backend('web', 'a').state, 'down')
})

t.test('a policy is read with the config', async t => {
  const { clusters } = started()
  const policy = { ...clusters.config('web').scaling, maxInstances: 3 }
  clusters.setPolicy('web', policy)
  t.equal(clusters.config('web').scaling.maxInstances, 3)
  t.throws(() => clusters.setPolicy('nope', policy), { code: 'unknown_cluster' })
})

t.test('the same place in the config is the same incarnation; another address is another', async t => {
  const incarnations = (port: number) =>
    clusterKit([clusterConfig({ backends: [{ ...two[0]!, port }] })]).clusters.backend('web', 'a').incarnation
  t.equal(incarnations(1), incarnations(1))
  t.not(incarnations(1), incarnations(2))
  t.match(incarnations(1), /^[\w-]{22}$/)
})
