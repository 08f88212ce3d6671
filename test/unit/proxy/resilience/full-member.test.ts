import t from 'tap'
import { Board } from '../../../../lib/cluster/board.ts'
import { Member } from '../../../../lib/cluster/member.ts'
import { enterWithin } from '../../../../lib/proxy/resilience/full-member.ts'
import { memberAt } from '../../../support/members.ts'

t.test('as many as the limit says, and one more for each that leaves', async t => {
  const board = Board.create(1)
  board.admit(0, 1, 'any')
  const member = memberAt(board, 0)
  t.equal(enterWithin(member, false, 2), 'entered')
  t.equal(enterWithin(member, false, 2), 'entered')
  t.equal(enterWithin(member, false, 2), 'full')
  t.equal(member.load(), 2)
  t.equal(enterWithin(member, false, 0), 'entered', 'no limit')
  member.leave('ok')
  member.becomeTunnel()
  t.equal(enterWithin(member, false, 2), 'full', 'a tunnel counts')
  member.leaveTunnel()
  t.equal(enterWithin(member, false, 2), 'entered')
  board.admit(0, 1, 'bound')
  t.equal(enterWithin(member, false, 2), 'closed', 'who is not admitted does not wait for room')
  t.equal(enterWithin(member, true, 2), 'full')
  t.equal(enterWithin(member, false, 9), 'closed')
  t.equal(enterWithin(member, true, 9), 'entered')
})

t.test('another thread comes in at the same moment: the limit holds', async t => {
  const board = Board.create(2)
  board.admit(0, 1, 'any')
  const member = memberAt(board, 0)
  const twin = new Member({ ...memberData, slot: 0, epoch: 1 }, board, 1)
  t.equal(enterWithin(member, false, 2), 'entered')
  const racing = {
    eligibility: () => member.eligibility(),
    load: () => member.load(),
    enter: (bound: boolean) => twin.enter(false) && member.enter(bound),
    leave: (outcome: 'aborted') => member.leave(outcome),
  }
  t.equal(enterWithin(racing, false, 2), 'full')
  t.equal(member.load(), 2, 'it has stepped back')
})

const memberData = { id: 'm0', incarnation: 'life-m0-1', host: '127.0.0.1', port: 1000, weight: 1 }
