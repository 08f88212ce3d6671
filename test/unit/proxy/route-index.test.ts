import t from 'tap'
import { normalHost, RouteIndex } from '../../../lib/proxy/route-index.ts'

const index = (...routes: string[]) =>
  new RouteIndex(
    routes.map(route => {
      const slash = route.indexOf('/')
      return { host: route.slice(0, slash), path: route.slice(slash), value: route }
    }),
  )

t.test('the longest prefix of whole segments', async t => {
  const routes = index('*/', '*/a', '*/a/b', '*/a/bc')
  for (const [path, expected] of [
    ['/', '*/'],
    ['/x', '*/'],
    ['/a', '*/a'],
    ['/a/', '*/a'],
    ['/a/x', '*/a'],
    ['/ab', '*/'],
    ['/a/b', '*/a/b'],
    ['/a/b/c/d', '*/a/b'],
    ['/a/bc', '*/a/bc'],
    ['/a/bcd', '*/a'],
    ['/A', '*/'],
    ['/a?x=/a/b', '*/a'],
    ['/?/a', '*/'],
    ['/a/b?', '*/a/b'],
    ['*', '*/'],
    ['', '*/'],
  ] as const)
    t.equal(routes.match('h', path), expected, path)
})

t.test('an exact host before any, and any where the host has no such path', async t => {
  const routes = index('*/', '*/api/v1', 'shop.example/api', 'only.example/x')
  t.equal(routes.match('shop.example', '/api/v1/x'), 'shop.example/api')
  t.equal(routes.match('shop.example', '/other'), '*/')
  t.equal(routes.match('only.example', '/y'), '*/')
  t.equal(routes.match('else.example', '/api/v1'), '*/api/v1')
  t.equal(index('only.example/x').match('only.example', '/y'), null)
  t.equal(index('only.example/x').match('else.example', '/x'), null)
  t.equal(index('*/x').match('*', '/y'), null)
})

t.test('a host is compared without case, port and trailing dot', async t => {
  const routes = index('shop.example/', '::1/', '127.0.0.1/')
  for (const host of [
    'shop.example',
    'SHOP.Example',
    'shop.example:8080',
    'shop.example.',
    'Shop.example.:80',
  ])
    t.equal(routes.match(host, '/'), 'shop.example/', host)
  for (const host of ['[::1]', '[::1]:8080']) t.equal(routes.match(host, '/'), '::1/', host)
  t.equal(routes.match('127.0.0.1:80', '/'), '127.0.0.1/')
  for (const host of ['', ':', '[', 'shop.example.evil', 'xshop.example', 'shop.example@evil', '[::1'])
    t.equal(routes.match(host, '/'), null, host)
  t.equal(normalHost('[2001:DB8::1]:443'), '2001:db8::1')
  t.equal(normalHost('2001:db8::1'), '2001:db8::1')
})

t.test('names that mean something to an object are plain text', async t => {
  const routes = index('*/')
  t.equal(routes.match('__proto__', '/constructor'), '*/')
  t.equal(index('a/b').match('constructor', '/'), null)
})

t.test('a slash at the end of a route says nothing; of two equal ones the first counts', async t => {
  t.equal(index('*/a/').match('h', '/a'), '*/a/')
  t.equal(index('*/a', '*/a/').match('h', '/a/x'), '*/a')
})

t.test('nothing is decoded or resolved', async t => {
  const routes = index('*/', '*/admin')
  for (const path of ['/%61dmin', '/x/../admin', '//admin', '/./admin', '/admin%2f', '/admin;x'])
    t.equal(routes.match('h', path), '*/', path)
})
