import t from 'tap'
import { newSession, SessionCookies } from '../../../lib/proxy/session-cookie.ts'
import { affinityKey } from '../../support/cluster-kit.ts'

const k1 = affinityKey(1)
const k2 = affinityKey(2)
const now = 1_700_000_000_123
const cookies = (keys = [k1], cluster = 'web', name = 'tidegate') => new SessionCookies(cluster, name, keys)

t.test('what is sealed opens to the same', async t => {
  const session = newSession('incarnation-ü', now)
  const renewed = { ...session, issuedMs: now + 5 }
  const opened = cookies().open(cookies().seal(renewed))
  t.match(opened, { ...renewed, oldKey: false, first: true })
  t.match(session.id, /^[\w-]{16}$/)
  t.not(newSession('x', now).id, session.id)
})

t.test('a value tells nothing, fits into a cookie as it is, and never comes twice', async t => {
  const jar = cookies()
  const session = newSession('10.0.0.5:8080', now)
  const values = new Set(Array.from({ length: 100 }, () => jar.seal(session)))
  t.equal(values.size, 100)
  for (const value of values) {
    t.match(value, /^[\w-]+$/)
    t.ok(value.length < 140, `${value.length} characters`)
    t.notOk(Buffer.from(value, 'base64url').includes('10.0.0.5'))
  }
})

t.test('no bit of it can be changed, and nothing cut off or added', async t => {
  const jar = cookies([k1, k2])
  const value = jar.seal(newSession('i', now))
  const bytes = Buffer.from(value, 'base64url')
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const forged = Buffer.from(bytes)
    forged[bit >> 3]! ^= 1 << (bit & 7)
    if (jar.open(forged.toString('base64url')) !== null) t.fail(`bit ${bit} changed`)
  }
  for (let length = 0; length < bytes.length; length++)
    if (jar.open(bytes.subarray(0, length).toString('base64url')) !== null) t.fail(`cut at ${length}`)
  t.equal(jar.open(Buffer.concat([bytes, Buffer.of(0)]).toString('base64url')), null)
  t.ok(jar.open(value), 'the true one still opens')
})

t.test('rubbish of any length is no cookie', async t => {
  const jar = cookies()
  for (const value of ['', 'a', '=', 'x'.repeat(50), '\0', 'ü'.repeat(60), 'A'.repeat(1_000_000)])
    t.equal(jar.open(value), null)
  for (let length = 1; length < 300; length++) t.equal(jar.open('A'.repeat(length)), null)
})

t.test('a cookie of another cluster, or under another name, does not open', async t => {
  const value = cookies().seal(newSession('i', now))
  t.equal(cookies([k1], 'shop').open(value), null)
  t.equal(cookies([k1], 'web', 'other').open(value), null)
  t.equal(cookies([k1], 'web\0tidegate', '').open(value), null)
  t.ok(cookies().open(value))
})

t.test('the newest key seals, all open, a key that is gone opens nothing more', async t => {
  const jar = cookies([k1])
  const old = jar.seal(newSession('i', now))
  t.match(jar.open(old), { oldKey: false })
  jar.setKeys([k2, k1])
  t.match(jar.open(old), { oldKey: true, incarnation: 'i' }, 'also where it is remembered')
  t.match(cookies([k2, k1]).open(old), { oldKey: true })
  const fresh = jar.seal(newSession('i', now))
  t.match(cookies([k2]).open(fresh), { oldKey: false })
  jar.setKeys([k2])
  t.equal(jar.open(old), null, 'remembered, and yet gone')
  t.ok(jar.open(fresh))
})

t.test('another key under the same id is another key', async t => {
  const jar = cookies([k1])
  const value = jar.seal(newSession('i', now))
  jar.open(value)
  jar.setKeys([affinityKey(1, 9)])
  t.equal(jar.open(value), null)
})

t.test('opened once it is remembered, and said to be', async t => {
  const jar = cookies()
  const value = jar.seal(newSession('i', now))
  t.equal(jar.open(value)?.first, true)
  t.equal(jar.open(value)?.first, false)
  jar.setKeys([affinityKey(1)])
  t.equal(jar.open(value)?.first, false, 'the same key again changes nothing')
})

t.test('what is remembered is bounded', async t => {
  const jar = cookies()
  const first = jar.seal(newSession('i', now))
  jar.open(first)
  for (let i = 0; i < 20_000; i++) jar.open(jar.seal(newSession('i', now)))
  t.equal(jar.open(first)?.first, true, 'forgotten, and opened anew')
})

t.test('keys that are none are refused', async t => {
  t.throws(() => cookies([]))
  t.throws(() => cookies([{ id: 0, key: new Uint8Array(32) }]))
  t.throws(() => cookies([{ id: 256, key: new Uint8Array(32) }]))
  t.throws(() => cookies([{ id: 1, key: new Uint8Array(16) }]))
})
