/** Names and addresses of namespaces: derived, distinct, and short enough for the kernel. */
import t from 'tap'
import {
  addressesOf,
  addressFor,
  hostAddress,
  insideBatch,
  namespaceName,
  namespacePrefix,
  outsideBatch,
  parsePool,
  rules,
  vethName,
} from '../../../../lib/hypervisor/network/plan.ts'

t.test('a pool is a network of a sensible size', async t => {
  t.same(parsePool('100.96.0.0/16', 'x'), { base: 0x64600000, size: 65_536 })
  t.same(parsePool('10.1.2.77/24', 'x'), { base: 0x0a010200, size: 256 }, 'cut to its first address')
  for (const bad of ['', '10.0.0.0', '10.0.0.0/8', '10.0.0.0/30', '10.0.0.256/24', 'fd00::/64', 7, null]) {
    t.throws(() => parsePool(bad, 'nodes[].options.network_pool'), {
      code: 'invalid_config',
      message: /network_pool/,
    })
  }
})

t.test('every address of a pool is tried, and none of it twice', async t => {
  const pool = parsePool('10.9.8.0/28', 'x')
  const tried = Array.from({ length: addressesOf(pool) }, (_, i) => addressFor(pool, '/n/instances/a', i))
  t.equal(new Set(tried).size, 13)
  t.notOk(tried.includes(hostAddress(pool)), 'not the host’s')
  t.notOk(tried.includes('10.9.8.0') || tried.includes('10.9.8.15'), 'not the first or last')
  t.equal(new Set(tried.map(vethName)).size, 13)
  for (const address of tried) t.ok(vethName(address).length <= 15, 'a name the kernel takes')
})

t.test('a namespace’s name says whose it is', async t => {
  const one = namespaceName('/state/local/instances/web-op1-1')
  t.ok(one.startsWith(namespacePrefix('/state/local')))
  t.notOk(one.startsWith(namespacePrefix('/state/other')))
  t.not(one, namespaceName('/state/local/instances/web-op1-2'))
  t.match(one, /^tidegate-[0-9a-f]{12}-[0-9a-f]{12}$/)
})

t.test('what is said to the commands', async t => {
  t.match(
    insideBatch('10.9.8.5', '10.9.8.1'),
    /route add default via 10\.9\.8\.1 dev outer src 10\.9\.8\.5\n/,
  )
  t.match(outsideBatch('10.9.8.5', '10.9.8.1'), /route add 10\.9\.8\.5\/32 dev tg0a090805 src 10\.9\.8\.1\n/)
  t.match(rules([8080, 7070, 8080], false), /dport \{ 8080, 7070 \} dnat ip to 10\.0\.2\.15/)
  const outbound = /iifname "tap0" oifname "outer" accept/
  t.notMatch(rules([1], false), outbound)
  t.match(rules([1], true), outbound)
})
