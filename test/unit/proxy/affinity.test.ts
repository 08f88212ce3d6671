import { parseCookie } from 'cookie'
import t from 'tap'
import type { HashParameter } from '../../../lib/config/config.ts'
import { hashKey, readCookies, sessionCookieHeader } from '../../../lib/proxy/affinity.ts'
import { seed, seeded } from '../../support/members.ts'

const request = (over: object = {}) => ({
  clientIp: '192.0.2.7',
  path: '/a/b?tenant=t1&x=y',
  headers: {},
  secure: false,
  nowMs: 0,
  ...over,
})
const key = (parameter: HashParameter, over: object = {}) =>
  hashKey({ method: 'consistent_hashing', parameter }, request(over))

t.test('cookies of one name, in order, and of no other', async t => {
  const read = (cookie: string) => readCookies({ cookie }, 'sid')
  t.strictSame(readCookies({}, 'sid'), [])
  t.strictSame(read('sid=1'), ['1'])
  t.strictSame(read('a=b; sid=1; c=d'), ['1'])
  t.strictSame(read('sid=1;sid=2;  sid=3'), ['1', '2', '3'])
  t.strictSame(read('xsid=1; sidx=2; a=sid=3; a="sid=4"; SID=5'), [])
  t.strictSame(read('sid'), [])
  t.strictSame(read('sid='), [''])
  t.strictSame(read('; ;=; sid=1'), ['1'])
  t.strictSame(read('sid=a%20b'), ['a b'])
  t.strictSame(read('sid=%zz'), ['%zz'])
  t.strictSame(readCookies({ cookie: '__proto__=1' }, '__proto__'), ['1'])
})

t.test('a value is what the parser makes of it, also where it is not asked', async t => {
  const start = seed()
  t.comment(`SEED=${start}`)
  const random = seeded(start)
  const letters = ['a', '-', '_', '%', '%41', '"', ' ', '\t', '=', ',', 'ü', '\0', '\x7f']
  for (let n = 0; n < 3_000; n++) {
    const value = Array.from({ length: n % 9 }, () => letters[Math.floor(random() * letters.length)]!).join(
      '',
    )
    const pair = `sid=${value}`
    t.strictSame(readCookies({ cookie: `x=1; ${pair}; y=2` }, 'sid'), [parseCookie(pair).sid], pair)
  }
})

t.test('not more cookies than a few, and not from beyond the limit', async t => {
  const many = Array.from({ length: 50 }, (_, i) => `sid=${i}`).join('; ')
  t.equal(readCookies({ cookie: many }, 'sid').length, 4)
  const far = `${'a=b; '.repeat(4000)}sid=1`
  t.strictSame(readCookies({ cookie: far }, 'sid'), [])
})

t.test('the header', async t => {
  t.equal(
    sessionCookieHeader('tidegate', 'v-_1', 3600, false),
    'tidegate=v-_1; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax',
  )
  t.match(sessionCookieHeader('tidegate', 'v', 60, true), /; Secure/)
})

t.test('keys of each method', async t => {
  t.equal(hashKey({ method: 'none' }, request()), null)
  t.equal(hashKey({ method: 'cookie', name: 'c', ttlSeconds: 1 }, request()), null)
  t.equal(hashKey({ method: 'client_ip' }, request()), '192.0.2.7')
  t.equal(hashKey({ method: 'client_ip' }, request({ clientIp: '2001:db8::5' })), '2001:db8:0:0::/64')
})

t.test('a header', async t => {
  const parameter = { from: 'header', name: 'x-user' } as const
  t.equal(key(parameter, { headers: { 'x-user': 'u1' } }), 'u1')
  t.equal(key(parameter, { headers: { 'x-user': ['u1', 'u2'] } }), 'u1, u2')
  t.equal(key(parameter), null)
  t.equal(key(parameter, { headers: { 'x-user': '' } }), null)
})

t.test('a cookie', async t => {
  const parameter = { from: 'cookie', name: 'sid' } as const
  t.equal(key(parameter, { headers: { cookie: 'a=b; sid=s1' } }), 's1')
  t.equal(key(parameter), null)
})

t.test('a query parameter, decoded', async t => {
  const parameter = { from: 'query', name: 'tenant' } as const
  const of = (path: string) => key(parameter, { path })
  t.equal(of('/a?tenant=t1'), 't1')
  t.equal(of('/a?x=tenant&tenant=%741'), 't1')
  t.equal(of('/a?%74enant=t1'), 't1')
  t.equal(of('/a?tenant=a+b'), 'a b')
  t.equal(of('/a?tenant=1&tenant=2'), '1')
  t.equal(of('/a?tenant=%zz'), '%zz')
  t.equal(of('/a?tenants=1'), null)
  t.equal(of('/a?tenant='), null)
  t.equal(of('/a?tenant'), null)
  t.equal(of('/tenant=1'), null)
})

t.test('the path, without its query', async t => {
  t.equal(key({ from: 'path' }), '/a/b')
  t.equal(key({ from: 'path' }, { path: '/a' }), '/a')
})
