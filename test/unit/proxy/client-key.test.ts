import t from 'tap'
import { clientKey } from '../../../lib/proxy/client-key.ts'

t.test('IPv4 as it is, however it is written', async t => {
  t.equal(clientKey('192.0.2.7'), '192.0.2.7')
  t.equal(clientKey('::ffff:192.0.2.7'), '192.0.2.7')
  t.equal(clientKey('::FFFF:192.0.2.7'), '192.0.2.7')
})

t.test('IPv6 by its /64, however it is written', async t => {
  const key = '2001:db8:1:2::/64'
  for (const ip of [
    '2001:db8:1:2::1',
    '2001:db8:1:2:ffff:eeee:dddd:cccc',
    '2001:0DB8:0001:0002:0:0:0:1',
    '2001:db8:1:2::',
    '2001:db8:1:2::192.0.2.1',
  ])
    t.equal(clientKey(ip), key, ip)
  t.equal(clientKey('::1'), '0:0:0:0::/64')
  t.equal(clientKey('1::2:3:4:5:6:7'), '1:0:2:3::/64')
  t.equal(clientKey('fe80::1%eth0'), 'fe80:0:0:0::/64')
  t.not(clientKey('2001:db8:1:3::1'), key)
  t.not(clientKey('2001:db8:1::2'), clientKey('2001:db8:2::2'))
})
