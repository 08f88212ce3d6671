/** Durations, sizes and addresses: what is read, and what is said of what is not. */
import t from 'tap'
import {
  formatAddress,
  isIpv6,
  isLoopback,
  parseAddress,
  parseDuration,
  parseSize,
  type Unit,
} from '../../../lib/units.ts'

const said = (unit: Unit<unknown>) => (unit.ok ? unit.value : `${unit.message} — ${unit.fix}`)

t.test('durations', async t => {
  const good: [unknown, number][] = [
    ['250ms', 250],
    ['30s', 30_000],
    ['1.5s', 1500],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['7d', 604_800_000],
    ['0s', 0],
    [' 2 s ', 2000],
  ]
  for (const [text, ms] of good) t.equal(said(parseDuration(text)), ms, String(text))
  t.equal(said(parseDuration(30)), '`30` has no unit — write `30s`')
  t.equal(said(parseDuration('30')), '`30` has no unit — write `30s`')
  t.match(said(parseDuration('30sec')), /not a unit of time — write `30s`/)
  t.match(said(parseDuration('5M')), /write `5m`/)
  for (const bad of ['', 'soon', '-1s', '1s2s', '1e3s', null, undefined, {}, [], true, '1'.repeat(40)])
    t.notOk(parseDuration(bad).ok, JSON.stringify(bad) ?? 'undefined')
})

t.test('sizes', async t => {
  t.equal(said(parseSize('512MiB')), 512 * 1024 ** 2)
  t.equal(said(parseSize('8GiB')), 8 * 1024 ** 3)
  t.equal(said(parseSize('10B')), 10)
  t.match(said(parseSize(512)), /no unit — write `512MiB`/)
  t.match(said(parseSize('512MB')), /not a unit of size — write `512MiB`/)
  t.match(said(parseSize('512mib')), /write `512MiB`/)
  t.match(said(parseSize('4g')), /write `4GiB`/)
  t.match(said(parseSize('999999999TiB')), /too large/)
})

t.test('addresses', async t => {
  t.strictSame(said(parseAddress('127.0.0.1:8080')), { host: '127.0.0.1', port: 8080 })
  t.strictSame(said(parseAddress('[::1]:8080')), { host: '::1', port: 8080 })
  t.strictSame(said(parseAddress('Shop.Example.com:80')), { host: 'shop.example.com', port: 80 })
  t.strictSame(said(parseAddress('0.0.0.0:0')), { host: '0.0.0.0', port: 0 })
  t.notOk(parseAddress('0.0.0.0:0', 1).ok, 'port 0 only where a free one may be taken')
  t.match(said(parseAddress(8080)), /write "127.0.0.1:8080"/)
  t.match(said(parseAddress(':8080')), /0\.0\.0\.0:8080/)
  t.match(said(parseAddress('::1')), /"\[::1\]:8080"/)
  t.match(said(parseAddress('localhost')), /add the port: "localhost:8080"/)
  t.match(said(parseAddress('http://a:80/')), /without `http:\/\/`/)
  for (const bad of [
    'a:b',
    'a:99999',
    '[zz]:1',
    '1.2.3.4.5:80',
    '256.1.1.1:80',
    '[1.2.3.4]:80',
    'a b:80',
    '-a:80',
    '',
  ])
    t.notOk(parseAddress(bad).ok, bad)
  t.equal(formatAddress('::1', 80), '[::1]:80')
  t.equal(formatAddress('h', 80), 'h:80')
})

t.test('loopback is what only this machine reaches', async t => {
  for (const host of ['localhost', '127.0.0.1', '127.9.8.7', '::1']) t.ok(isLoopback(host), host)
  for (const host of ['0.0.0.0', '::', '10.0.0.1', '127.evil.example', '127.0.0.1.evil', ''])
    t.notOk(isLoopback(host), host)
  t.ok(isIpv6('fe80::1'))
  t.notOk(isIpv6('12345::'))
})
