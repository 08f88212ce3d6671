/** What a backend is told of a client's certificate: one value that cannot be broken out of. */
import { X509Certificate } from 'node:crypto'
import t from 'tap'
import { clientCertificateValue } from '../../../../lib/proxy/tls/client-certificate.ts'
import { Authority, text } from '../../../support/certificates.ts'

const ca = new Authority(t.testdir())

const told = (subject: string, names?: string) => {
  const pair = ca.issue('client', { subject, ...(names ? { names } : {}) })
  return clientCertificateValue(new X509Certificate(text(pair.cert)))
}

t.test('hash, subject and the first URI', async t => {
  t.match(
    told('/O=Acme/OU=Ops/CN=alice', 'DNS:a.test,URI:spiffe://acme/alice,URI:spiffe://acme/other'),
    /^Hash=[0-9a-f]{64};Subject="CN=alice,OU=Ops,O=Acme";URI=spiffe:\/\/acme\/alice$/,
  )
})

t.test('what stands in a name stays inside its quotes, in ASCII', async t => {
  const value = told('/O=Ac"me, "In\\\\c/CN=René', 'DNS:a.test')
  t.match(value, /^Hash=[0-9a-f]{64};Subject="CN=Ren\\C3\\A9,O=Ac\\"me\\, \\"In\\\\c"$/)
  const quotes = value.replace(/\\./g, '').match(/"/g) ?? []
  t.equal(quotes.length, 2)
  t.match(value, /^[ -~]+$/)
})

t.test(
  'what cannot stand for itself is left out: a subject beyond the bound, a URI with a separator',
  async t => {
    const units = Array.from({ length: 20 }, (_, i) => `/OU=${i}${'x'.repeat(60)}`).join('')
    t.match(told(`${units}/CN=a`), /^Hash=[0-9a-f]{64}$/)
    t.match(told('/CN=a', 'URI:spiffe://a/b;Subject=root'), /^Hash=[0-9a-f]{64};Subject="CN=a"$/)
  },
)
