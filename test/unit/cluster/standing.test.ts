import t from 'tap'
import { type Count, Poll, type Standing, type Voter } from '../../../lib/cluster/standing.ts'

/** A poll of `votes`, and what it told: its turns, and what each voter heard last. */
function scene(votes: string, thresholds = { degradedThreshold: 50, panicThreshold: 40 }) {
  const turns: (Standing & Count)[] = []
  const poll = new Poll(thresholds, (standing, count) => turns.push({ ...standing, ...count }))
  const heard: Standing[] = []
  const voters = [...votes].map(
    (_, i): Voter => ({
      heed(standing) {
        heard[i] = standing
      },
    }),
  )
  const kinds = { w: 'well', d: 'degraded', i: 'ill', '-': null } as const
  const vote = (i: number, kind: string) => poll.vote(voters[i]!, kinds[kind as 'w'])
  for (const [i, kind] of [...votes].entries()) vote(i, kind)
  return { poll, turns, heard, vote, voters }
}
const standing = (votes: string, degradedThreshold = 50, panicThreshold = 40) =>
  scene(votes, { degradedThreshold, panicThreshold }).poll.standing

t.test('all hands when fewer are well than the threshold', async t => {
  t.notOk(standing('w').allHands)
  t.notOk(standing('wd').allHands, 'half is not fewer than half')
  t.ok(standing('wdd').allHands)
  t.ok(standing('d').allHands)
  t.ok(standing('wii').allHands)
  t.notOk(standing('dddd', 0).allHands, '0: never')
  t.ok(standing('wwwd', 100).allHands, '100: as soon as one is not')
})

t.test('panic when fewer are well or degraded than the threshold', async t => {
  t.notOk(standing('wiw').panic)
  t.ok(standing('wii').panic)
  t.notOk(standing('di').panic, 'who is degraded answers')
  t.ok(standing('i').panic)
  t.notOk(standing('iii', 50, 0).panic, '0: never')
})

t.test('who is not in rotation is not counted', async t => {
  t.strictSame(standing('wi----'), { panic: false, allHands: false })
  t.strictSame(standing('----'), { panic: false, allHands: false }, 'nobody is no panic')
  t.strictSame(scene('wdi-').poll.count, { well: 1, degraded: 1, ill: 1 })
})

t.test('a turn is told to every voter, and panic to the cluster', async t => {
  const { turns, heard, vote } = scene('wwwww')
  vote(0, 'i')
  vote(1, 'i')
  t.strictSame([turns, heard[4]], [[], { panic: false, allHands: false }])
  vote(2, 'i')
  t.strictSame(turns, [], 'two of five are 40 percent')
  t.strictSame(heard, Array(5).fill({ panic: false, allHands: true }))
  vote(3, 'i')
  t.match(turns, [{ panic: true, well: 1, ill: 4 }])
  t.strictSame(heard, Array(5).fill({ panic: true, allHands: true }))
  vote(0, 'w')
  t.match(turns, [{ panic: true }, { panic: false, well: 2, ill: 3 }])
})

t.test('who joins late hears how things stand, who leaves is not counted any more', async t => {
  const { poll, voters, heard, turns } = scene('wii')
  t.equal(turns.length, 1)
  const late: Standing[] = []
  poll.vote({ heed: standing => late.push(standing) }, null)
  t.strictSame(late, [{ panic: true, allHands: true }])
  poll.leave(voters[1]!)
  t.strictSame(heard[0], { panic: false, allHands: false }, 'one of two')
  poll.leave(voters[1]!)
  t.strictSame(poll.count, { well: 1, degraded: 0, ill: 1 }, 'leaving twice is harmless')
})

t.test('other thresholds count at once', async t => {
  const { poll, heard } = scene('wd')
  poll.setThresholds({ degradedThreshold: 60, panicThreshold: 0 })
  t.strictSame(heard[1], { panic: false, allHands: true })
})
