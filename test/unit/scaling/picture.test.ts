/** What is different after an undo: of the operation's own making, or of somebody else's. */
import t from 'tap'
import type { Held } from '../../../lib/hypervisor/driver.ts'
import { differencesBetween, inWords, type Own, pictureOf, type Scene } from '../../../lib/scaling/picture.ts'
import type { InstanceRecord } from '../../../lib/store/store.ts'

const owner = { installation: 'ours', cluster: 'web', operation: 'before' }
const record = (id: string, over: Partial<InstanceRecord> = {}): InstanceRecord => ({
  ...{ id, cluster: 'web', node: 'n1', incarnation: id, operation: 'before', origin: 'created' },
  ...{ address: { host: '127.0.0.1', port: 1 }, createdAtMs: 0, ...over },
})
const held = (names: readonly string[], snapshots: readonly string[] = ['golden'], operation = 'before') =>
  ({
    instances: names.map(name => ({ name, owner: { ...owner, operation }, state: 'running' })),
    snapshots: snapshots.map(name => ({ name, owner })),
  }) as unknown as Held
const scene = (over: Partial<Scene> = {}): Scene => ({
  ...{ installation: 'ours', cluster: 'web', members: [record('a'), record('b')], golden: 'golden' },
  ...{
    door: () => 'open',
    mark: () => null,
    held: new Map([['n1', held(['a', 'b'])]]),
    promised: [],
    ...over,
  },
})
const own: Own = { operation: 'mine', nodes: [], taken: [], reserved: [], attended: new Set() }
const told = (now: Partial<Scene>, mine: Partial<Own> = {}, before = pictureOf(scene())) =>
  differencesBetween(before, scene(now), { ...own, ...mine }).map(
    one => `${one.ours ? '!' : ''}${inWords(one)}`,
  )

t.test('as it was', async t => {
  t.strictSame(told({}), [])
  const former = { ...pictureOf(scene()) }
  const members = former.members.map(({ id, node, host, port, incarnation, reality, door }) => ({
    ...{ id, node, host, port, incarnation, reality, door },
  }))
  const changed = [
    record('a', { protected: true, resources: { cpus: 1, memoryBytes: 1, diskBytes: 1 } }),
    record('b'),
  ]
  t.strictSame(told({ members: changed }, {}, { ...former, members }), [], 'a former version did not say')
})

t.test('members: gone, new, left by the operation, of another address or size', async t => {
  const a = record('a')
  t.strictSame(told({ members: [a] }), [
    'b on n1: member at 127.0.0.1:1 expected, not a member found (member_gone)',
  ])
  t.match(told({ members: [a, record('b'), record('c')] }), [
    /^c on n1: not a member expected.*\(member_new\)$/,
  ])
  const left = [a, record('b'), record('c', { operation: 'mine' })]
  t.match(told({ members: left }), [/^!c on n1: not a member expected, member at .*\(member_left\)$/])
  t.match(told({ members: [a, record('b', { incarnation: 'another' })] }), [/\(member_changed\)$/])
  const resources = { cpus: 2, memoryBytes: 64, diskBytes: 1 }
  t.match(told({ members: [a, record('b', { resources })] }), [
    'b on n1: the size that its cluster says expected, 2 cpus, 64 bytes of memory, 1 of disk found (resources)',
  ])
})

t.test('protection and marks, unless an operator set them', async t => {
  const members = [record('a', { protected: true }), record('b')]
  const mark = (id: string) => (id === 'b' ? 'maint' : null)
  t.strictSame(told({ members, mark }), [
    'a on n1: not protected expected, protected found (protection)',
    'b on n1: no mark expected, maint found (mark)',
  ])
  t.strictSame(told({ members, mark }, { attended: new Set(['a', 'b']) }), [])
})

t.test('reservations, leftovers, the golden snapshot, the table, and nodes that fell silent', async t => {
  t.match(told({}, { reserved: [{ node: 'n1', name: 'c' }] }), [/^!c on n1: no room promised expected/])
  const n2 = held(['mine-1'], [], 'mine')
  t.match(
    told({
      held: new Map([
        ['n1', held(['a', 'b'])],
        ['n2', n2],
      ]),
    }),
    [/^!mine-1 on n2: .*\(left_over\)$/],
  )
  t.match(told({ held: new Map([['n1', held(['a', 'b'], [])]]) }), [/\(golden_gone\)$/])
  t.match(told({ golden: null }), ['golden on n1: the golden snapshot expected, none found (golden_changed)'])
  t.match(told({ door: id => (id === 'a' ? 'absent' : 'open') }), [/^a on n1: .*\(not_serving\)$/])
  const silent = new Map([['n1', null]])
  t.match(told({ held: silent }), [
    'n1: its members as they were expected, cannot be asked found (not_asked)',
  ])
  t.match(told({ held: silent }, { nodes: ['n1'] }), [/^!n1: nothing of this operation expected/])
  t.strictSame(told({ held: silent }, {}, pictureOf(scene({ held: silent }))), [], 'it was silent before')
})
