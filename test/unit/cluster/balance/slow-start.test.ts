import t from 'tap'
import { firstShare, SlowStart } from '../../../../lib/cluster/balance/slow-start.ts'
import { balancerOf } from '../../../support/balancers.ts'
import { crowd, nobody, seed, seeded, tally } from '../../../support/members.ts'

const start = seed()
t.comment(`SEED=${start}`)
const windowMs = 30_000
const begunMs = 1_700_000_000_000

function scene(weights: readonly number[]) {
  let nowMs = begunMs
  const found = crowd(weights)
  found.board.noteOpened(0, begunMs)
  const at = (ms: number) => {
    nowMs = begunMs + ms
  }
  return { ...found, at, over: { slowStartMs: windowMs, now: () => nowMs, random: seeded(start) } }
}

t.test('the share grows from a tenth to the whole, evenly', async t => {
  const { members, over, at } = scene([1, 1])
  const slowStart = new SlowStart(windowMs, over.now, over.random)
  for (const [ms, share] of [
    [0, firstShare],
    [15_000, 0.55],
    [29_900, 0.997],
    [30_000, 1],
    [90_000, 1],
  ] as const) {
    at(ms)
    t.ok(Math.abs(slowStart.share(members[0]!) - share) < 0.001, `${ms} ms: ${share}`)
    t.equal(slowStart.share(members[1]!), 1, 'nobody noted when it began')
  }
  at(-500)
  t.equal(slowStart.share(members[0]!), firstShare, 'another thread is a little behind')
  at(-3_600_000)
  t.equal(slowStart.share(members[0]!), 1, 'the clock was set back by an hour')
})

for (const kind of ['round_robin', 'random', 'least_request', 'peak_ewma'] as const)
  for (const count of [5, 20])
    t.test(`${kind}, ${count} members: a newcomer gets its part of what would be its own`, async t => {
      const { members, over, at } = scene(Array<number>(count).fill(1))
      const balancer = balancerOf(kind, members, over)
      for (const [ms, share] of [
        [0, 0.1],
        [15_000, 0.55],
        [30_000, 1],
      ] as const) {
        at(ms)
        const picks = count * 2000
        const found = tally(picks, () => balancer.pick(nobody)).get('m0') ?? 0
        // What it is passed over for goes to all, and it is one of so many.
        const expected = (picks * share) / (count - 1 + share)
        t.ok(
          Math.abs(found - expected) < 40 + expected * 0.15,
          `${ms} ms: ${found} of ${expected.toFixed(0)}`,
        )
      }
    })

t.test('the only one that serves gets everything at once; so do newcomers among themselves', async t => {
  for (const kind of ['round_robin', 'random', 'least_request', 'peak_ewma', 'consistent_hash'] as const) {
    const { members, admit, over, board } = scene([1, 1, 1])
    admit(1, 'none')
    admit(2, 'none')
    const balancer = balancerOf(kind, members, over)
    for (let i = 0; i < 200; i++) if (balancer.pick(nobody) !== members[0]) throw new Error(kind)
    admit(1, 'any')
    board.noteOpened(1, begunMs)
    const counts = tally(2000, () => balancer.pick(nobody))
    for (const id of ['m0', 'm1']) t.ok(counts.get(id)! > 600, `${kind}: ${counts.get(id)} of 1000 for ${id}`)
  }
})

t.test('consistent_hash: keys stay with their owner, but a newcomer has less room for them', async t => {
  const { members, over, at } = scene([1, 1, 1, 1])
  const balancer = balancerOf('consistent_hash', members, over)
  const owned = Array.from({ length: 200 }, (_, i) => i * 20_000_003).filter(
    hash => balancer.pick(nobody, hash) === members[0],
  )
  t.ok(owned.length > 20, 'with nothing under way it gets all of its keys')
  for (const other of members.slice(1)) for (let i = 0; i < 20; i++) other.enter(false)
  const room = (ms: number) => {
    at(ms)
    let taken = 0
    for (; balancer.pick(nobody, owned[0]) === members[0]; taken++) members[0]!.enter(false)
    while (members[0]!.load() > 0) members[0]!.leave('ok')
    return taken
  }
  // The greatest x ≤ ⌈1.25 · (60 + x) · w ÷ (3 + w)⌉ for a weight w of 0.1, 0.55 and 1.
  t.strictSame([0, 15_000, 30_000].map(room), [3, 15, 28])
})
