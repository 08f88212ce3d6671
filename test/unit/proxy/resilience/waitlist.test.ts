import t from 'tap'
import { Place, Waitlist } from '../../../../lib/proxy/resilience/waitlist.ts'

function names(list: Waitlist<string>): string {
  let text = ''
  for (let place = list.first; place !== null; place = place.after) text += place.who
  return text
}

function filled(...entries: readonly (readonly [string, number])[]) {
  const list = new Waitlist<string>()
  const places = entries.map(([who, deadlineMs]) => new Place(who, deadlineMs))
  for (const place of places) list.add(place)
  return { list, places }
}

t.test('in the order of deadlines, and of arrival among equals', async t => {
  const { list } = filled(['a', 5], ['b', 5], ['c', 7], ['d', 6], ['e', 1], ['f', 7])
  t.equal(names(list), 'eabdcf')
  t.equal(list.length, 6)
})

t.test('out of the middle, the ends, and once only', async t => {
  const { list, places } = filled(['a', 1], ['b', 2], ['c', 3], ['d', 4])
  const [a, b, c, d] = places as [Place<string>, Place<string>, Place<string>, Place<string>]
  t.ok(list.remove(b))
  t.notOk(list.remove(b))
  t.equal(names(list), 'acd')
  t.ok(list.remove(d))
  t.ok(list.remove(a))
  t.equal(names(list), 'c')
  list.add(d)
  list.add(a)
  t.equal(names(list), 'acd')
  for (const place of [c, a, d]) t.ok(list.remove(place))
  t.same([list.first, list.length], [null, 0])
  list.add(b)
  t.equal(names(list), 'b')
})

t.test('a place of another list is left there', async t => {
  const one = filled(['a', 1])
  const two = filled(['b', 1])
  t.notOk(one.list.remove(two.places[0]!))
  t.equal(names(two.list), 'b')
})
