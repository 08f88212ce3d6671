/** What is read from certificate files, and what is said of those that cannot be used. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readUse } from '../../lib/certificate-files.ts'
import { authoritiesFault, dateWarning, readPair, usesOf } from '../../lib/certificates.ts'
import { loadConfig } from '../../lib/config/load.ts'
import { Authority, listenerTls, text, upstreamTls } from '../support/certificates.ts'

const directory = t.testdir()
const ca = new Authority(directory)
const pair = ca.issue('server', { names: 'DNS:A.test,DNS:*.b.test,IP:127.0.0.1,URI:spiffe://x/y' })
const other = ca.issue('other')
const day = 86_400_000

t.test('names, dates, fingerprint', async t => {
  const read = readPair(text(pair.cert) + ca.pem, text(pair.key))
  if (!read.ok) throw new Error(read.fault.message)
  t.same(read.facts.names, ['a.test', '*.b.test'])
  t.match(read.facts.fingerprint, /^[0-9a-f]{64}$/)
  const { startsAtMs, endsAtMs } = read.facts
  t.equal(Math.round((endsAtMs - startsAtMs) / day), 30)
  t.equal(dateWarning(read.facts, startsAtMs), null)
  t.match(dateWarning(read.facts, startsAtMs - 1), /^not valid before \d{4}-/)
  t.match(dateWarning(read.facts, endsAtMs - 13 * day), /^expires on \d{4}-/)
  t.match(dateWarning(read.facts, endsAtMs), /^expired on \d{4}-/)
})

t.test('faults of a pair say which file is to be mended', async t => {
  const [cert, key] = [text(pair.cert), text(pair.key)]
  const faultOf = (...files: [string, string]) => {
    const read = readPair(...files)
    return read.ok ? null : read.fault
  }
  t.match(faultOf('', key), { file: 'cert', message: 'there is no certificate in it' })
  t.match(faultOf(cert.replace(/\n(.{10})/, '\n!!!!!$1'), key), { file: 'cert', message: /cannot be read/ })
  t.match(faultOf(cert, ''), { file: 'key', message: 'there is no private key in it' })
  t.match(faultOf(cert, text(other.key)), {
    file: 'key',
    message: 'the key does not belong to the certificate',
  })
  t.match(
    faultOf(ca.pem + cert, key),
    { file: 'key', fix: /first certificate/ },
    'a chain in the wrong order',
  )
  const { createPrivateKey } = await import('node:crypto')
  const encrypted = createPrivateKey(key).export({
    type: 'pkcs8',
    format: 'pem',
    cipher: 'aes-256-cbc',
    passphrase: 'secret',
  })
  t.match(faultOf(cert, String(encrypted)), { file: 'key', message: 'the key is encrypted' })
  t.equal(authoritiesFault(ca.pem + cert), null)
  t.match(authoritiesFault(key), { message: 'there is no certificate in it' })
})

t.test('which files a configuration names, and what is wrong with them', async t => {
  const missing = { cert: join(directory, 'none.crt'), key: directory }
  const listener = { host: '', port: 1, tls: listenerTls([pair, missing], { clientCa: pair.key }) }
  const cluster = { tls: upstreamTls({ ca: ca.cert, pair: other }) }
  const uses = usesOf({ listeners: [{ host: '', port: 2 }, listener], clusters: [cluster] } as never)
  t.same(
    uses.map(({ path }) => path),
    [
      ['listeners', 1, 'tls'],
      ['clusters', 0, 'tls'],
    ],
  )
  const [wrong, fine] = await Promise.all(uses.map(readUse))
  t.same(
    wrong!.faults.map(({ path, message }) => [
      path.slice(3).join('.'),
      message.replaceAll(`${directory}/`, ''),
    ]),
    [
      ['certificates.1.cert', 'there is no file none.crt'],
      ['certificates.1.key', `${directory} is a directory`],
      ['client_ca', 'server.key: there is no certificate in it'],
    ],
  )
  t.same(fine!.faults, [])
})

t.test('`check` tells them with their line and column, like any other fault', async t => {
  const folder = join(directory, 'config')
  mkdirSync(folder)
  writeFileSync(
    join(folder, 'tidegate.yaml'),
    `listeners:
  - address: "127.0.0.1:0"
    tls:
      certificates:
        - { cert: ../server.crt, key: ../other.key }
clusters: [{ id: web, backends: [{ id: a, address: "127.0.0.1:1" }] }]
`,
  )
  const result = await loadConfig(join(folder, 'tidegate.yaml'))
  t.match(result, {
    faults: [
      {
        path: 'listeners[0].tls.certificates[0].key',
        line: 5,
        column: 39,
        message: `${join(directory, 'other.key')}: the key does not belong to the certificate`,
      },
    ],
  })
})
