import t from 'tap'
import { compileTable } from '../../../lib/cluster/compile.ts'
import { differenceOf, tableAfter } from '../../../lib/cluster/difference.ts'
import type { TableData, TableMember } from '../../../lib/cluster/table.ts'
import type { ClusterConfig } from '../../../lib/config/config.ts'
import { affinityKey, clusterConfig } from '../../support/cluster-kit.ts'
import { seed, seeded } from '../../support/members.ts'

const keys = [affinityKey(1)]
const member = (slot: number, epoch = 1, weight = 1): TableMember =>
  Object.freeze({
    ...{ id: `m${slot}`, incarnation: `life-${slot}-${epoch}`, host: '127.0.0.1', port: 1, weight },
    ...{ zone: null, slot, epoch },
  })

function compiled(
  clusters: readonly (readonly [ClusterConfig, readonly TableMember[]])[],
  previous: TableData | null = null,
  affinityKeys = keys,
): TableData {
  const rows = clusters.map(([config, members]) => ({ config, members }))
  return compileTable((previous?.generation ?? 0) + 1, rows, affinityKeys, null, previous)
}

/** As it arrives in a thread: a copy. */
const posted = <T>(value: T): T => structuredClone(value)

t.test('what is as it was is the same object, and is not sent', async t => {
  const [web, api] = [clusterConfig(), clusterConfig({ id: 'api' })]
  const members = [member(0), member(1)]
  const first = compiled([
    [web, members],
    [api, [member(5)]],
  ])
  const second = compiled(
    [
      [web, [...members, member(2)]],
      [api, first.clusters[1]!.members],
    ],
    first,
  )
  t.equal(second.clusters[1], first.clusters[1])
  t.equal(second.affinityKeys, first.affinityKeys)
  const difference = differenceOf(first, second)!
  t.match(difference, { base: 1, generation: 2, affinityKeys: null })
  t.strictSame(difference.clusters, [{ id: 'web', setting: null, remove: [], append: [member(2)] }])
  const held = posted(first)
  const after = tableAfter(held, posted(difference))
  t.strictSame(after, posted(second))
  t.equal(after.clusters[1], held.clusters[1], 'a thread, too, sees that nothing changed there')
})

t.test('any run of changes ends in the same table, in the same order', async t => {
  const start = seed()
  t.comment(`SEED=${start}`)
  const random = seeded(start)
  const config = clusterConfig()
  let slot = 0
  let members: TableMember[] = Array.from({ length: 30 }, () => member(slot++))
  let table = compiled([[config, members]])
  let held = posted(table)
  for (let step = 0; step < 200; step++) {
    const leave = random() * 4
    members = members.filter(() => random() * members.length > leave)
    for (let i = 0; i < random() * 4; i++) members.push(member(slot++))
    // A new life in the same slot, another weight in the same place, another order.
    if (random() < 0.2) members = members.map(one => (random() < 0.1 ? member(one.slot, one.epoch + 1) : one))
    if (random() < 0.2) members = members.map(one => (random() < 0.1 ? member(one.slot, one.epoch, 7) : one))
    if (random() < 0.1) members.reverse()
    const next = compiled([[config, members]], table)
    held = tableAfter(held, posted(differenceOf(table, next)!))
    if (JSON.stringify(held) !== JSON.stringify(next)) throw new Error(`step ${step}`)
    table = next
  }
  t.pass('200 changes')
})

t.test('settings and keys travel when they change', async t => {
  const members = [member(0)]
  const first = compiled([[clusterConfig(), members]])
  const second = compiled([[clusterConfig({ balance: 'random' }), members]], first, [affinityKey(2), ...keys])
  const difference = differenceOf(first, second)!
  t.strictSame(difference.clusters[0]?.append, [])
  t.equal(difference.clusters[0]?.setting?.balance, 'random')
  t.strictSame(tableAfter(posted(first), posted(difference)), posted(second))
})

t.test('clusters that come, leave or change places are sent whole', async t => {
  const [web, api] = [clusterConfig(), clusterConfig({ id: 'api' })]
  const one = compiled([[web, []]])
  const two = compiled([
    [web, []],
    [api, []],
  ])
  const turned = compiled([
    [api, []],
    [web, []],
  ])
  t.equal(differenceOf(one, two), null)
  t.equal(differenceOf(two, one), null)
  t.equal(differenceOf(two, turned), null)
})

t.test('of ten thousand members only the one that comes is sent', async t => {
  const members = Array.from({ length: 10_000 }, (_, slot) => member(slot))
  const first = compiled([[clusterConfig(), members]])
  const second = compiled([[clusterConfig(), [...members.slice(1), member(10_001)]]], first)
  // The settings are told anew here: the configuration was read anew.
  const { clusters } = differenceOf(first, second)!
  t.strictSame([clusters[0]?.remove, clusters[0]?.append.length], [[0], 1])
})
