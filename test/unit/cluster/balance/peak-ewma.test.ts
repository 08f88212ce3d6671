import t from 'tap'
import { faded, memoryMs, observed } from '../../../../lib/cluster/balance/latency.ts'
import { balancerOf } from '../../../support/balancers.ts'
import { crowd, nobody, seed, seeded, tally } from '../../../support/members.ts'

const start = seed()
t.comment(`SEED=${start}`)

/** `answers` has a member answer some exchanges, each in so many milliseconds. */
function scene(count: number) {
  const clock = { ms: 1_700_000_000_000 }
  const found = crowd(Array<number>(count).fill(1), { now: () => clock.ms })
  const answers = (at: number, latencyMs: number, times = 1) => {
    for (let i = 0; i < times; i++) {
      found.members[at]!.enter(false)
      found.members[at]!.leave('ok', latencyMs)
    }
  }
  const balancer = balancerOf('peak_ewma', found.members, { now: () => clock.ms, random: seeded(start) })
  return { ...found, clock, answers, balancer }
}

t.test('a peak counts at once, and is forgotten with time', async t => {
  t.equal(observed(10, 0, 500), 500)
  t.equal(observed(500, 0, 10), 500, 'an answer right after it changes nothing')
  t.ok(Math.abs(observed(500, memoryMs, 10) - (10 + 490 / Math.E)) < 1e-9)
  t.ok(Math.abs(faded(100, 2 * memoryMs) - 100 / Math.E ** 2) < 1e-9)
  t.equal(observed(0, Number.POSITIVE_INFINITY, 20), 20)
})

t.test('what fades does so by e in its time, in tables or out of them', async t => {
  for (const ageMs of [0, 1, 255, 256, 257, 9_999, 65_535, 65_536, 1e9, 0.5, 300.25]) {
    const off = faded(1_000, ageMs) / (1_000 * Math.exp(-ageMs / memoryMs)) - 1
    t.ok(Number.isNaN(off) || Math.abs(off) < 1e-12, `${ageMs} ms: ${off}`)
  }
  t.equal(faded(1_000, Number.POSITIVE_INFINITY), 0)
})

t.test('the faster of two gets the client, until so much is under way on it that the other is', async t => {
  const { members, answers, balancer } = scene(2)
  answers(0, 10)
  answers(1, 45)
  for (let i = 0; i < 4; i++) {
    t.equal(balancer.pick(nobody), members[0])
    members[0]!.enter(false)
  }
  t.equal(balancer.pick(nobody), members[1], '45 · 1 against 10 · 5')
})

t.test('one slow answer turns clients away; time brings them back', async t => {
  const { members, answers, balancer, clock } = scene(2)
  for (const at of [0, 1]) answers(at, 20)
  answers(1, 2000)
  t.equal(tally(50, () => balancer.pick(nobody)).get('m0'), 50)
  clock.ms += 4 * memoryMs
  answers(0, 20)
  t.equal(balancer.pick(nobody), members[0], '2000 ms are still 37')
  clock.ms += memoryMs
  answers(0, 20)
  t.equal(balancer.pick(nobody), members[1], 'and now less than 20')
})

t.test('a new member begins like the others, not as the fastest', async t => {
  const { members, board, answers, balancer, clock } = scene(3)
  for (const at of [0, 1]) answers(at, 30)
  board.noteOpened(2, clock.ms)
  balancer.pick(new Set([members[2]!]))
  const picks = () => {
    const taken: string[] = []
    for (let i = 0; i < 9; i++) {
      const member = balancer.pick(nobody)!
      member.enter(false)
      taken.push(member.id)
    }
    for (const id of taken) members[Number(id[1])]!.leave('aborted')
    return taken.filter(id => id === 'm2').length
  }
  t.equal(picks(), 3, 'a third of what is under way at once')
  clock.ms += memoryMs
  for (const at of [0, 1]) answers(at, 30)
  t.equal(balancer.pick(nobody), members[2], 'it is asked when it has waited for a while')
  members[2]!.enter(false)
  t.not(balancer.pick(nobody), members[2], 'by one, until it has answered')
  members[2]!.leave('ok', 90)
  t.not(balancer.pick(nobody), members[2])
})

t.test('members that were there at the start are each asked at once', async t => {
  const { answers, balancer } = scene(3)
  answers(0, 5)
  balancer.pick(nobody)
  t.not(balancer.pick(nobody)?.id, 'm0')
})

t.test('with nothing known it goes by what is under way', async t => {
  const { members, balancer } = scene(3)
  members[0]!.enter(false)
  members[1]!.enter(false)
  t.equal(balancer.pick(nobody), members[2])
})

t.test('what has faded is tried once, not stormed', async t => {
  const { members, answers, balancer, clock } = scene(3)
  answers(0, 100)
  clock.ms += 6 * memoryMs
  answers(1, 50)
  answers(2, 50)
  t.equal(balancer.pick(nobody), members[0], 'a quarter of a millisecond is left of 100')
  members[0]!.enter(false)
  for (const at of [1, 2]) members[at]!.enter(false)
  t.not(balancer.pick(nobody), members[0], 'until it has answered it counts as it was: 100')
})

t.test('who refuses at once is not fast', async t => {
  const { members, answers, balancer } = scene(2)
  for (const at of [0, 1]) answers(at, 20)
  members[1]!.enter(false)
  members[1]!.leave('failed')
  t.equal(tally(20, () => balancer.pick(nobody)).get('m0'), 20)
  t.ok(members[1]!.latencyMs(1_700_000_000_000, false) >= 1000)
  members[1]!.enter(false)
  members[1]!.leave('failed')
  t.ok(members[1]!.latencyMs(1_700_000_000_000, false) >= 2000, 'twice as slow each time')
  members[0]!.enter(false)
  members[0]!.leave('aborted')
  t.equal(members[0]!.latencyMs(1_700_000_000_000, false), 20, 'a client that left says nothing')
})

t.test('among many a slow one gets little', async t => {
  const { answers, balancer } = scene(40)
  for (let at = 0; at < 40; at++) answers(at, at === 7 ? 400 : 20)
  t.equal(tally(4000, () => balancer.pick(nobody)).get('m7'), undefined)
})

t.test('a new generation knows the mean of the former one', async t => {
  const { members, board, answers, balancer, clock } = scene(3)
  answers(0, 60)
  balancer.pick(new Set(members.slice(1)))
  for (const slot of [1, 2]) board.noteOpened(slot, clock.ms)
  const random = seeded(start)
  const next = balancerOf('peak_ewma', members.slice(1), { now: () => clock.ms, random }, balancer)
  answers(1, 80)
  t.equal(next.pick(nobody), members[2], 'of which nothing is known: 60')
  answers(1, 10)
  clock.ms += 3 * memoryMs
  answers(1, 10)
  answers(2, 20)
  t.equal(next.pick(nobody), members[1])
})
