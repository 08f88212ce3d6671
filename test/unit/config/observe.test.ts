/** The keys of the access log and of tracing: defaults, paths, endpoints, and what is refused with which fix. */
import t from 'tap'
import { parseConfig } from '../../../lib/config/parse.ts'

const options = { file: 'tidegate.yaml', directory: '/etc/tidegate', cpus: 4 }
const rest = 'clusters: [{ id: web, backends: [{ id: a, address: "10.0.0.5:8080" }] }]'
const parse = (text: string) => parseConfig(`${text}\n${rest}`, options)

function read(text: string) {
  const result = parse(text)
  if ('faults' in result) throw new Error(JSON.stringify(result.faults))
  return result.config
}

function faults(text: string): readonly string[] {
  const result = parse(text)
  return 'faults' in result ? result.faults.map(({ path, fix }) => `${path}: ${fix}`) : []
}

t.test('nothing is logged and nothing sent unless it is asked for', async t => {
  const { accessLog, tracing } = read('')
  t.equal(accessLog, null)
  t.strictSame(tracing, { propagate: true, generate: 'auto', sample: 1, otlp: null })
})

t.test('a path is enough', async t => {
  t.strictSame(read('access_log: { path: log/access.log }').accessLog, {
    path: '/etc/tidegate/log/access.log',
    format: 'json',
    sample: 1,
    slowMs: 1_000,
    errors: 'always',
    query: 'keep',
    userAgent: false,
    referer: false,
  })
  t.equal(read('access_log: { path: "-" }').accessLog?.path, '-')
})

t.test('a collector is named by its address or by the whole URL', async t => {
  const endpoint = (url: string) => read(`tracing: { otlp: { endpoint: "${url}" } }`).tracing.otlp?.endpoint
  t.equal(endpoint('http://127.0.0.1:4318'), 'http://127.0.0.1:4318/v1/traces')
  t.equal(endpoint('https://otlp.example.com/'), 'https://otlp.example.com/v1/traces')
  t.equal(endpoint('https://otlp.example.com/api/x?tenant=1'), 'https://otlp.example.com/api/x?tenant=1')
  const { otlp } = read('tracing: { otlp: { endpoint: "http://c", headers_file: otlp.headers } }').tracing
  t.match(otlp, { headersFile: '/etc/tidegate/otlp.headers', serviceName: 'tidegate', query: 'drop' })
})

t.test('what cannot be is refused with its place and its fix', async t => {
  t.strictSame(faults('access_log: {}'), ['access_log.path: add it'])
  t.strictSame(faults('access_log: { path: a, sample: 2, errors: never }'), [
    'access_log.sample: a number from 0 to 1',
    'access_log.errors: one of always, sample',
  ])
  t.match(faults('access_log: off'), ['access_log: write keys and values: `{ key: value }`'])
  t.match(faults('tracing: { otlp: { endpoint: "ftp://x" } }'), [/^tracing\.otlp\.endpoint: as "http/])
  t.match(faults('tracing: { otlp: { endpoint: "http://u:secret@x" } }'), [/headers_file/])
  const result = parse('tracing: { otlp: { endpoint: "http://u:secret@x" } }')
  t.notMatch(JSON.stringify(result), 'secret', 'a password is not repeated')
})
