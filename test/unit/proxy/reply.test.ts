import t from 'tap'
import { errorTable } from '../../../lib/errors.ts'
import { render } from '../../../lib/proxy/reply.ts'

t.test('JSON to who takes it, text to everybody else', async t => {
  for (const accept of [
    'application/json',
    'text/html, application/problem+json;q=0.1',
    'APPLICATION/JSON',
  ]) {
    const { contentType, body, status } = render('no_backend', accept, null)
    t.match(contentType, /^application\/json/)
    t.equal(status, 503)
    t.match(JSON.parse(body), { error: { code: 'no_backend', message: /Try again/, details: {} } })
  }
  for (const accept of [undefined, '*/*', 'text/html', 'application/jsonp']) {
    const { contentType, body } = render('upstream_header_timeout', accept, null)
    t.match(contentType, /^text\/plain/)
    t.match(body, /^504 upstream_header_timeout: The backend did not answer in time\.\n$/)
  }
})

t.test('a reason takes the place of the general message', async t => {
  t.equal(
    render('bad_request', undefined, 'More than one Host field.').body,
    '400 bad_request: More than one Host field.\n',
  )
})

t.test('every code of traffic has its status and says something', async t => {
  const traffic = [
    'bad_request',
    'request_timeout',
    'payload_too_large',
    'headers_too_large',
    'upgrade_unsupported',
    'no_route',
    'no_backend',
    'upstream_connect_failed',
    'upstream_connect_timeout',
    'upstream_header_timeout',
    'upstream_idle_timeout',
    'upstream_reset',
    'upstream_bad_response',
    'shutting_down',
    'internal',
  ] as const
  const said = new Set<string>()
  for (const code of traffic) {
    const { status, body } = render(code, undefined, null)
    t.equal(status, errorTable[code].status)
    said.add(body.split(': ')[1]!)
  }
  t.equal(said.size, traffic.length, 'each its own')
})
