import { Worker } from 'node:worker_threads'
import t from 'tap'
import { Board, slotsMax } from '../../../lib/cluster/board.ts'
import { Member, type MemberOutcome } from '../../../lib/cluster/member.ts'

const memberOf = (board: Board, thread = 0, epoch = 1) =>
  new Member(
    { id: 'a', incarnation: 'i', host: '127.0.0.1', port: 1, weight: 1, slot: 3, epoch },
    board,
    thread,
  )

t.test('admission is per tenancy: an old epoch admits nobody', async t => {
  const board = Board.create(1)
  t.equal(board.eligibility(3, 1), 'none', 'a slot nobody opened')
  board.admit(3, 1, 'any')
  t.equal(board.eligibility(3, 1), 'any')
  board.admit(3, 2, 'bound')
  t.equal(board.eligibility(3, 1), 'none', 'the former tenant')
  t.equal(board.eligibility(3, 2), 'bound')
})

t.test('the largest epoch and the last slot fit', async t => {
  const board = Board.create(1)
  const epoch = 2 ** 24 - 1
  board.admit(slotsMax - 1, epoch, 'any')
  t.equal(board.eligibility(slotsMax - 1, epoch), 'any')
})

t.test('a closed member is not entered, and nothing is counted', async t => {
  const board = Board.create(1)
  const member = memberOf(board)
  board.admit(3, 1, 'any')
  t.ok(member.enter(false))
  t.equal(member.load(), 1)
  board.admit(3, 1, 'bound')
  t.notOk(member.enter(false), 'a new client')
  t.ok(member.enter(true), 'a bound client')
  board.admit(3, 1, 'none')
  t.notOk(member.enter(true))
  t.equal(member.load(), 2)
  member.leave('ok')
  member.leave('failed')
  t.equal(member.load(), 0)
  t.equal(board.total(3, 'started'), 2)
  t.equal(board.total(3, 'failed'), 1)
})

t.test('each outcome is counted once; who goes well ends a row, who leaves does not', async t => {
  const board = Board.create(2)
  const one = memberOf(board, 0)
  const two = memberOf(board, 1)
  board.admit(3, 1, 'any')
  const end = (member: Member, outcomes: readonly MemberOutcome[]) => {
    for (const outcome of outcomes) if (member.enter(false)) member.leave(outcome, 5)
  }
  end(one, ['failed', 'server_error', 'aborted', 'failed'])
  t.strictSame(
    (['inFlight', 'started', 'failed', 'serverErrors', 'aborted'] as const).map(name => board.total(3, name)),
    [0, 4, 2, 1, 1],
  )
  t.equal(board.takeRow(3), 3)
  t.equal(board.takeRow(3), 0, 'taken out')
  end(one, ['failed'])
  t.equal(board.takeRow(3), 4, 'the row goes on')
  end(one, ['failed', 'ok', 'failed'])
  end(two, ['failed', 'failed'])
  t.equal(board.takeRow(3), 5, 'the longest of any thread, though it is broken by now')
  end(one, ['failed'])
  t.equal(board.takeRow(3), 2)
  if (one.enter(false)) one.becomeTunnel()
  end(one, ['server_error'])
  t.equal(board.takeRow(3), 1, 'an upgrade is an exchange that went well')
})

t.test('who is in reserve lets in whoever comes', async t => {
  const board = Board.create(1)
  const member = memberOf(board)
  board.admit(3, 1, 'spare')
  t.equal(member.eligibility(), 'spare')
  t.ok(member.enter(false))
  t.ok(member.enter(true))
})

t.test('an upgrade moves from in-flight to tunnels', async t => {
  const board = Board.create(1)
  const member = memberOf(board)
  board.admit(3, 1, 'any')
  member.enter(false)
  member.becomeTunnel()
  t.equal(board.total(3, 'inFlight'), 0)
  t.equal(board.total(3, 'tunnels'), 1)
  member.leaveTunnel()
  t.equal(member.load(), 0)
})

t.test('a dead thread takes its gauges with it, and only its own', async t => {
  const board = Board.create(2)
  board.admit(3, 1, 'any')
  memberOf(board, 0).enter(false)
  memberOf(board, 1).enter(false)
  t.equal(board.total(3, 'inFlight'), 2)
  board.wipeThread(1)
  t.equal(board.total(3, 'inFlight'), 1)
  t.equal(board.total(3, 'started'), 2, 'what was counted stays counted')
})

t.test('threads see each other: no entry is lost while another thread closes the member', async t => {
  const board = Board.create(2)
  board.admit(3, 1, 'any')
  const worker = new Worker(new URL('../../support/board-worker.ts', import.meta.url), {
    workerData: { buffer: board.buffer, thread: 1, rounds: 50_000 },
  })
  t.teardown(() => worker.terminate())
  const done = new Promise<number>(resolve => worker.once('message', resolve))
  await new Promise(resolve => worker.once('online', resolve))
  // Close it again and again while the worker enters and leaves: once it was closed and seen empty, nobody gets in.
  let violations = 0
  let closedEmpty = 0
  for (let i = 0; i < 2_000; i++) {
    board.admit(3, 1, 'none')
    while (board.total(3, 'inFlight') !== 0);
    const before = board.total(3, 'started')
    for (let spin = 0; spin < 20; spin++) board.eligibility(3, 1)
    if (board.total(3, 'started') !== before) violations++
    closedEmpty++
    board.admit(3, 1, 'any')
  }
  t.equal(closedEmpty, 2_000)
  const entered = await done
  t.equal(violations, 0)
  t.ok(entered > 0, 'the worker got in at all')
  t.equal(board.total(3, 'inFlight'), 0)
  t.equal(board.total(3, 'started'), entered)
})

t.test(
  'at a turn who was said to closes in the instant in which others open; whoever says it plainly again ends that',
  async t => {
    const board = Board.create(1)
    const both = () => [board.eligibility(3, 1), board.eligibility(4, 1)]
    for (const round of [1, 2, 3]) {
      board.admit(3, 1, 'any')
      board.admitAtTurn(3, 1, 'any', 'bound')
      board.admitAtTurn(4, 1, 'none', 'any')
      t.strictSame(both(), ['any', 'none'], `before turn ${round}`)
      board.turn()
      t.equal(board.turns(), round)
      t.strictSame(both(), ['bound', 'any'], `after turn ${round}`)
      board.admit(3, 1, 'bound')
      board.admit(4, 1, 'any')
      t.strictSame(both(), ['bound', 'any'], 'said plainly')
    }
    board.turn()
    t.strictSame(both(), ['bound', 'any'], 'another turn is nothing to them')
  },
)
