import t from 'tap'
import { systemClock } from '../../../../lib/clock.ts'
import { openBell } from '../../../../lib/proxy/resilience/bell.ts'
import { CircuitBoard } from '../../../../lib/proxy/resilience/circuit-board.ts'

t.test('a ring is heard by the loop that is meant, each time, until it closes', async t => {
  // A wait for shared memory alone does not keep a process alive.
  const cancel = systemClock.every(60_000, () => {})
  t.teardown(cancel)
  const board = CircuitBoard.create(2)
  const [zero, one] = [openBell(board, 0), openBell(board, 1)]
  let heard = 0
  let next = () => {}
  zero.listen(() => t.fail('not this one'))
  one.listen(() => {
    heard++
    // A ring that comes while the last one is dealt with is not lost.
    if (heard === 2) zero.ring(1)
    next()
  })
  one.listen(() => t.fail('it listens already'))
  for (const expected of [1, 3]) {
    const done = new Promise<void>(resolve => {
      next = () => heard >= expected && resolve()
    })
    zero.ring(1)
    await done
    t.equal(heard, expected)
  }
  one.close()
  zero.ring(1)
  zero.close()
  await systemClock.sleep(1)
  t.equal(heard, 3)
})

t.test('a loop alone waits for nobody', async t => {
  const board = CircuitBoard.create(1)
  const bell = openBell(board, 0)
  bell.listen(() => t.fail())
  bell.close()
  t.equal(board.words[0], 0)
})
