/** The keys of listeners and of TLS on both sides: what they become, and what is wrong with them. */
import t from 'tap'
import { parseConfig } from '../../../lib/config/parse.ts'

const parse = (listener: string, cluster = '', rest = '') => {
  const text = `${rest}
listeners: [{ address: "127.0.0.1:0", ${listener} }]
clusters: [{ id: web, backends: [{ id: a, address: "127.0.0.1:1" }], ${cluster} }]`
  const result = parseConfig(text, { file: 'f', directory: '/d', cpus: 2 })
  return 'config' in result
    ? result.config
    : { faults: result.faults.map(({ path, message, fix }) => `${path}: ${message} — ${fix}`) }
}

t.test('defaults, and paths from the directory of the file', async t => {
  t.match(parse(''), {
    listeners: [{ protocol: 'http1', proxyProtocol: 'off', tls: null }],
    clusters: [{ protocol: 'http1', tls: null }],
  })
  t.match(parse('tls: { certificates: [{ cert: a.crt, key: /k/a.key }] }', 'tls: {}, protocol: h2'), {
    listeners: [
      {
        tls: {
          certificates: [{ cert: '/d/a.crt', key: '/k/a.key' }],
          alpn: ['h2', 'http/1.1'],
          minVersion: 'TLSv1.2',
          clientAuth: 'none',
          clientCa: null,
          handshakeTimeoutMs: 10_000,
        },
      },
    ],
    clusters: [{ protocol: 'h2', tls: { ca: null, pair: null, serverName: null, verify: true } }],
  })
  t.match(
    parse(
      'proxy_protocol: require, protocol: h2c',
      'tls: { ca: c/ca.crt, cert: c.crt, key: c.key, server_name: App.Internal }',
      'trusted_proxies: [10.0.0.1]',
    ),
    {
      listeners: [{ protocol: 'h2c', proxyProtocol: 'require' }],
      clusters: [
        {
          tls: { ca: '/d/c/ca.crt', pair: { cert: '/d/c.crt', key: '/d/c.key' }, serverName: 'app.internal' },
        },
      ],
    },
  )
})

const pair = 'certificates: [{ cert: a, key: b }]'
const wrong: Record<string, [string, string, RegExp]> = {
  'no certificates': ['tls: { certificates: [] }', '', /certificates: an empty list is too short/],
  'a certificate without its key': [
    'tls: { certificates: [{ cert: a }] }',
    '',
    /certificates\[0\]\.key: `key` is missing/,
  ],
  'an unknown protocol': [`tls: { ${pair}, alpn: [h3] }`, '', /alpn\[0\]: `h3` is not known here/],
  'a protocol twice': [`tls: { ${pair}, alpn: [h2, h2] }`, '', /alpn: a protocol is listed twice/],
  'an old version': [
    `tls: { ${pair}, min_version: TLSv1.1 }`,
    '',
    /min_version: `TLSv1\.1` is not known here/,
  ],
  'nobody to check clients by': [
    `tls: { ${pair}, client_auth: require }`,
    '',
    /client_auth: .* no authority .* — add `client_ca`/,
  ],
  'an authority for nothing': [
    `tls: { ${pair}, client_ca: c }`,
    '',
    /client_ca: clients are not asked for a certificate/,
  ],
  'h2c with TLS': [`protocol: h2c, tls: { ${pair} }`, '', /protocol: `h2c` is HTTP\/2 without TLS/],
  'PROXY from anybody': [
    'proxy_protocol: require',
    '',
    /proxy_protocol: .* no `trusted_proxies` would refuse every connection/,
  ],
  'half a pair': [
    '',
    'tls: { cert: a }',
    /clusters\[0\]\.tls: a certificate and its key belong together — add `key`/,
  ],
  'an authority that is not asked': [
    '',
    'tls: { ca: c, verify: false }',
    /verify: with `verify: false` nobody is checked/,
  ],
  'an address as a name': [
    '',
    'tls: { server_name: 10.0.0.1 }',
    /server_name: `10\.0\.0\.1` is not a server name/,
  ],
  'an unknown key': ['', 'tls: { insecure: true }', /tls\.insecure: unknown key/],
}
for (const [what, [listener, cluster, fault]] of Object.entries(wrong))
  t.test(`refused: ${what}`, async t => {
    t.match(parse(listener, cluster), { faults: [fault] })
  })
