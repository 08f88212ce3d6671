/** The pure choices: names, places, sources, victims, orphans, bounds. */
import t from 'tap'
import type { Held } from '../../../lib/hypervisor/driver.ts'
import type { InstanceFacts } from '../../../lib/scaling/facts.ts'
import { backoffMs } from '../../../lib/scaling/limits.ts'
import { operationId, resourceName } from '../../../lib/scaling/names.ts'
import { rankSources, silentSources } from '../../../lib/scaling/placement/victims.ts'
import { checkBounds, planOf, type Situation } from '../../../lib/scaling/plan.ts'
import { findOrphans } from '../../../lib/scaling/recovery/orphans.ts'
import { repairBackoffMs } from '../../../lib/scaling/recovery/repairs.ts'
import { instanceFacts as facts } from '../../support/instance-facts.ts'

t.test('names', async t => {
  const id = operationId(1_700_000_000_000, new Uint8Array([0, 1, 2, 31, 255]))
  t.match(id, /^[0-9a-z]{12}$/)
  t.ok(id < operationId(1_700_000_001_000, new Uint8Array(5)), 'they sort by age')
  t.equal(resourceName('web', id, '1'), `web-${id}-1`)
  const long = (end: string) => resourceName(`${'x'.repeat(60)}${end}`, id, '100')
  t.equal(long('a').length, 63)
  t.not(long('a'), long('b'))
  t.match(long('a'), new RegExp(`-${id}-100$`))
})

t.test('sources: healthy and open, least busy, originals first', async t => {
  const ranked = rankSources([
    facts('busy', { in_flight: 2, origin: 'created' }),
    facts('clone', { tunnels: 1 }),
    facts('original', { tunnels: 1, origin: 'created', created_at_ms: 9 }),
    facts('draining', { state: 'draining' }),
    facts('sick', { healthy: false }),
    facts('paused', { reality: 'paused' }),
    facts('unseen', { reality: 'unknown' }),
  ])
  t.strictSame(
    ranked.map(source => source.instance),
    ['original', 'clone', 'busy'],
  )
})

t.test('degraded sources come after the others, silent ones only where nobody else does', async t => {
  const silent = { healthy: false, silent: true, state: 'down' }
  const all = [
    facts('busy', { in_flight: 9 }),
    facts('degraded', { degraded: true }),
    facts('silent', silent),
    facts('silent-in-panic', { ...silent, state: 'ready', in_flight: 1 }),
    facts('silent-and-drained', { ...silent, state: 'drained' }),
    facts('silent-and-gone', { ...silent, reality: 'gone' }),
    facts('refusing', { healthy: false, state: 'down' }),
  ]
  const names = (sources: ReturnType<typeof rankSources>) => sources.map(source => source.instance)
  t.strictSame(names(rankSources(all)), ['busy', 'degraded'])
  t.strictSame(names(silentSources(all)), ['silent', 'silent-in-panic'])
})

t.test('orphans: ours, unclaimed, old enough, and really seen', async t => {
  const row = (name: string, installation = 'ours', createdAtMs = 0) => ({
    name,
    owner: { installation, cluster: 'web', operation: 'o' },
    createdAtMs,
  })
  const later = { ...row('later'), owner: { ...row('later').owner, epoch: 9 } }
  const kept = { ...row('kept'), owner: { ...row('kept').owner, cluster: 'damaged' } }
  const held = new Map([
    [
      'n1',
      {
        instances: [
          row('lost'),
          row('member'),
          row('theirs', 'theirs'),
          row('young', 'ours', 80),
          later,
          kept,
        ],
        snapshots: [row('forgotten')],
      } as unknown as Held,
    ],
    ['n2', null],
  ])
  const found = findOrphans(held, new Set(['member']), {
    ...{ installation: 'ours', nowMs: 100, guardMs: 30 },
    known: ({ epoch = 0 }) => epoch < 9,
    heldBack: cluster => (cluster === 'damaged' ? 'its journal' : null),
  })
  t.strictSame(
    found.map(({ kind, name, collectAtMs, why }) => `${kind} ${name} ${collectAtMs} ${why}`),
    [
      'instance lost 30 null',
      'instance young 110 it is younger than 0.03 s',
      'instance later null it was made by a later life than this store knows of: was the store put back from a copy?',
      'instance kept null its journal',
      'snapshot forgotten 30 null',
    ],
  )
})

t.test('bounds: the policy’s, and a hundred', async t => {
  const policy = {
    minInstances: 2,
    maxInstances: 500,
    targetCpuUtilization: 0.5,
    scaleInCooldownSeconds: 0,
    scaleOutCooldownSeconds: 0,
  }
  for (const fine of [2, 100]) checkBounds({ target_count: fine }, { cluster: 'web', policy })
  for (const bad of [1, 101, 2.5, Number.NaN])
    t.throws(() => checkBounds({ target_count: bad }, { cluster: 'web', policy }), {
      code: 'target_out_of_bounds',
    })
})

t.test('pauses grow and stop growing', async t => {
  t.strictSame(
    [1, 2, 3, 4, 99].map(attempt => backoffMs(attempt)),
    [0, 200, 400, 800, 5_000],
  )
  t.strictSame([0, 1, 2, 99].map(repairBackoffMs), [0, 5_000, 10_000, 300_000])
})

t.test('more instances are clones or nothing: no memory is lost in silence', async t => {
  const policy = {
    minInstances: 1,
    maxInstances: 9,
    targetCpuUtilization: 0.6,
    scaleInCooldownSeconds: 0,
    scaleOutCooldownSeconds: 0,
  }
  const situation = (instances: readonly InstanceFacts[]): Situation => ({
    cluster: 'web',
    policy,
    cloneFrom: 'live',
    instances,
    golden: null,
  })
  const grow = { type: 'scale_out', target_count: 3, immediate: false, drain_connections: true } as const
  t.match(planOf(grow, situation([])), { mode: 'create', add: 3 }, 'a first start boots from nothing')
  t.match(planOf(grow, situation([facts('a')])), { mode: 'live', add: 2 })
  const sick = situation([facts('a', { healthy: false, state: 'down' })])
  t.throws(() => planOf(grow, sick), { code: 'no_clone_source' })
  const unasked = situation([facts('a', { reality: 'unknown' })])
  t.throws(() => planOf(grow, unasked), { code: 'hypervisor_unreachable' })
  t.match(planOf({ type: 'replace', instance_id: 'a' }, sick), { mode: 'create' }, 'a replacement must serve')
  const silent = facts('a', { healthy: false, silent: true, state: 'down' })
  t.match(
    planOf(grow, situation([silent])),
    { mode: 'live', sources: [{ instance: 'a' }] },
    'the last resort',
  )
  t.match(planOf(grow, situation([facts('a', { degraded: true })])), {
    mode: 'live',
    reason: 'cloned from a, which serves and is degraded',
  })
  t.match(planOf(grow, situation([facts('a', { degraded: true }), facts('b')])), {
    reason: /^cloned from b$/,
  })
  t.match(planOf({ type: 'replace', instance_id: 'a' }, situation([silent])), { mode: 'create' })
  t.match(planOf(grow, situation([silent, facts('b', { in_flight: 9 })])), { sources: [{ instance: 'b' }] })
  t.throws(() => planOf(grow, situation([{ ...silent, reality: 'unknown' }])), {
    code: 'hypervisor_unreachable',
  })
})
