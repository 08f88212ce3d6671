import t from 'tap'
import { hostnameOf, screen } from '../../../lib/proxy/screen.ts'

const ask = (
  url: string,
  fields: [string, string][] = [['Host', 'x']],
  method = 'GET',
  httpVersionMinor = 1,
) =>
  screen({
    method,
    url,
    httpVersionMinor,
    headers: Object.fromEntries(fields.map(([name, value]) => [name.toLowerCase(), value]).reverse()),
    rawHeaders: fields.flat(),
  })

t.test('targets', async t => {
  t.match(ask('/a?b'), {
    fault: null,
    target: '/a?b',
    path: '/a',
    authority: 'x',
    hostname: 'x',
    body: 'none',
  })
  t.match(ask('HTTP://Y:1/p?q'), { fault: null, authority: 'Y:1', hostname: 'y', target: '/p?q', path: '/p' })
  t.match(ask('http://y'), { target: '/' })
  t.match(ask('http://y?q'), { target: '/?q' })
  t.match(ask('*', undefined, 'OPTIONS'), { fault: null, target: '*' })
  for (const bad of [
    '',
    '*',
    'a',
    'http://',
    'http://[',
    'http://u@y/',
    'http://a:999999/',
    'ftp://y/',
    '/a b',
    '/a\x00',
    '/a#b',
    '/a\x7f',
    '/..',
    '/./',
    '/a/%2e%2E/b',
    '/%2e',
  ]) {
    t.type(ask(bad).fault, 'string', JSON.stringify(bad))
  }
  for (const good of ['/...', '/.a', '/a..', '/a/..b', '/%2f', '/?/../']) t.equal(ask(good).fault, null, good)
})

t.test('hosts', async t => {
  for (const good of ['a', 'a.b-c:80', '[::1]', '[::1]:80', 'a_b', 'a:', '%41'])
    t.equal(ask('/', [['Host', good]]).fault, null, good)
  for (const bad of ['a b', 'a/b', 'a@b', '[::1', '::1', 'a:b', 'a,b c', '%4', 'a:123456'])
    t.type(ask('/', [['Host', bad]]).fault, 'string', bad)
  t.type(ask('/', []).fault, 'string', 'missing')
  t.equal(ask('/', [], 'GET', 0).fault, null, 'HTTP/1.0 may omit it')
  t.type(
    ask('/', [
      ['Host', 'a'],
      ['hOST', 'a'],
    ]).fault,
    'string',
    'twice',
  )
  t.equal(hostnameOf('A.B:80'), 'a.b')
  t.equal(hostnameOf('[FE80::1]:80'), '[fe80::1]')
  t.equal(hostnameOf(''), '')
})

t.test('framing', async t => {
  const post = (...fields: [string, string][]) => ask('/', [['Host', 'x'], ...fields], 'POST')
  t.match(post(['Content-Length', '5']), { body: 'length' })
  t.match(post(['Content-Length', '0']), { body: 'none' })
  t.match(post(['Transfer-Encoding', 'Chunked']), { body: 'chunked' })
  const faults: [string, string][][] = [
    [
      ['Content-Length', '5'],
      ['content-length', '5'],
    ],
    [['Content-Length', '+5']],
    [['Content-Length', '']],
    [['Content-Length', '5, 5']],
    [
      ['Content-Length', '5'],
      ['Transfer-Encoding', 'chunked'],
    ],
    [['Transfer-Encoding', 'chunked, chunked']],
    [['Transfer-Encoding', 'gzip']],
    [
      ['Transfer-Encoding', 'chunked'],
      ['Transfer-Encoding', 'identity'],
    ],
  ]
  for (const fields of faults) t.type(post(...fields).fault, 'string', JSON.stringify(fields))
  t.type(
    ask(
      '/',
      [
        ['Host', 'x'],
        ['Transfer-Encoding', 'chunked'],
      ],
      'POST',
      0,
    ).fault,
    'string',
    'HTTP/1.0',
  )
})
