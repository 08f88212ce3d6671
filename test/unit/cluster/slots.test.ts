import t from 'tap'
import { Board } from '../../../lib/cluster/board.ts'
import { Slots } from '../../../lib/cluster/slots.ts'
import { memberAt } from '../../support/members.ts'

t.test('a slot that comes back has another epoch, and its former tenant admits nobody', async t => {
  const board = Board.create(1)
  const slots = new Slots(board, 1)
  const first = slots.allocate()
  board.admit(first.slot, first.epoch, 'any')
  slots.release(first)
  t.equal(board.eligibility(first.slot, first.epoch), 'none', 'closed by the release')
  const second = slots.allocate()
  t.strictSame(second, { slot: first.slot, epoch: first.epoch + 1 })
  board.admit(second.slot, second.epoch, 'any')
  t.equal(board.eligibility(first.slot, first.epoch), 'none')
})

t.test('there are so many and no more', async t => {
  const slots = new Slots(Board.create(1), 3)
  const taken = [slots.allocate(), slots.allocate(), slots.allocate()]
  t.equal(new Set(taken.map(place => place.slot)).size, 3)
  t.throws(() => slots.allocate(), { code: 'no_capacity' })
  slots.release(taken[1]!)
  t.equal(slots.allocate().slot, taken[1]!.slot)
})

t.test('a slot with something in flight rests until that has left', async t => {
  const board = Board.create(1)
  const slots = new Slots(board, 1)
  const place = slots.allocate()
  const member = memberAt(board, place.slot, { epoch: place.epoch })
  board.admit(place.slot, place.epoch, 'any')
  member.enter(false)
  slots.release(place)
  t.throws(() => slots.allocate(), { code: 'no_capacity' })
  member.leave('ok')
  t.equal(slots.allocate().slot, place.slot)
})

t.test('released twice is released once', async t => {
  const slots = new Slots(Board.create(1), 2)
  const place = slots.allocate()
  slots.release(place)
  slots.release(place)
  t.not(slots.allocate().slot, slots.allocate().slot)
  slots.release(place)
  t.throws(() => slots.allocate(), { code: 'no_capacity' }, 'an old tenancy gives nothing back')
})
