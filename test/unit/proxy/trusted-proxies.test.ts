import t from 'tap'
import { parseTrustedProxies, plainAddress } from '../../../lib/proxy/trusted-proxies.ts'

t.test('addresses and blocks of both families', async t => {
  const trusted = parseTrustedProxies(['10.0.0.0/8', '192.0.2.7', '2001:db8::/32', '::1'])
  for (const yes of ['10.1.2.3', '192.0.2.7', '2001:db8:1::2', '::1', '::ffff:10.1.2.3'])
    t.ok(trusted.has(yes), yes)
  for (const no of [
    '11.0.0.1',
    '192.0.2.8',
    '2001:db9::1',
    '::2',
    '',
    'nonsense',
    '10.1.2',
    '::ffff:11.0.0.1',
  ])
    t.notOk(trusted.has(no), no)
})

t.test('nobody by default, everybody by /0', async t => {
  t.notOk(parseTrustedProxies([]).has('127.0.0.1'))
  t.ok(parseTrustedProxies(['0.0.0.0/0']).has('8.8.8.8'))
  t.notOk(parseTrustedProxies(['0.0.0.0/0']).has('::1'))
})

t.test('a faulty entry is named', async t => {
  for (const bad of ['10.0.0.0/33', '10.0.0', '10.0.0.0/', '10.0.0.0/a', 'proxy.example', '::/129', '']) {
    t.throws(
      () => parseTrustedProxies(['::1', bad]),
      { message: new RegExp(`^trusted_proxies: "${bad}" `) },
      JSON.stringify(bad),
    )
  }
})

t.test('plainAddress', async t => {
  t.equal(plainAddress('::ffff:192.0.2.1'), '192.0.2.1')
  t.equal(plainAddress('::ffff:c000:201'), '::ffff:c000:201')
  t.equal(plainAddress('::1'), '::1')
})
