import t from 'tap'
import { Owners } from '../../../lib/proxy/owners.ts'
import { newSession, SessionCookies } from '../../../lib/proxy/session-cookie.ts'
import { affinityKey } from '../../support/cluster-kit.ts'
import { crowd } from '../../support/members.ts'

t.test('a session leads to its member, and is looked for again when the membership is another', async t => {
  const { members } = crowd([1, 1])
  const [a, b] = members as [(typeof members)[0], (typeof members)[0]]
  const jar = new SessionCookies<typeof a>('web', 'tidegate', [affinityKey(1)])
  const value = jar.seal(newSession(a.incarnation, 0))
  const of = (owners: Owners) => owners.of(jar.open(value)!)
  const both = new Owners([a, b])
  t.equal(of(both), a)
  t.equal(of(both), a, 'the way there is remembered')
  t.equal(of(new Owners([b])), null, 'it has left')
  t.equal(of(both), a, 'a request of the former generation')
  t.equal(new Owners([]).get(a.incarnation), null)
})

t.test('what was opened by an old key leads there too, each time', async t => {
  const { members } = crowd([1])
  const old = new SessionCookies('web', 'tidegate', [affinityKey(1)])
  const jar = new SessionCookies<(typeof members)[0]>('web', 'tidegate', [affinityKey(2), affinityKey(1)])
  const value = old.seal(newSession(members[0]!.incarnation, 0))
  const owners = new Owners(members)
  for (let time = 0; time < 3; time++) {
    const session = jar.open(value)!
    t.match(session, { oldKey: true, first: time === 0 })
    t.equal(owners.of(session), members[0])
  }
})
