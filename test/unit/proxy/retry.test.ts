import t from 'tap'
import { type Failure, retryVerdict } from '../../../lib/proxy/retry.ts'

const reset: Failure = { code: 'upstream_reset', reused: true, answered: false, bodyBegun: false }
const connect: Failure = { code: 'upstream_connect_failed', reused: false, answered: false, bodyBegun: false }

t.test('a connection that was never made: another member, whatever the request', async t => {
  for (const method of ['GET', 'POST', 'PATCH']) {
    for (const hasBody of [true, false]) t.equal(retryVerdict(connect, method, hasBody, 1), 'other_member')
  }
  t.equal(retryVerdict({ ...connect, code: 'upstream_connect_timeout' }, 'POST', true, 2), 'other_member')
})

t.test('a pooled connection that died before an answer: once more, if nothing can happen twice', async t => {
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']) {
    t.equal(retryVerdict(reset, method, false, 1), 'fresh_connection', method)
    t.equal(retryVerdict(reset, method, true, 1), 'no', `${method} with a body`)
  }
  for (const method of ['POST', 'PATCH', 'get', 'LOCK'])
    t.equal(retryVerdict(reset, method, false, 1), 'no', method)
  t.equal(
    retryVerdict({ ...reset, reused: false }, 'GET', false, 1),
    'no',
    "a fresh connection that dies is the backend's fault",
  )
})

t.test(
  'never: after a byte of the answer, after a byte of the body, after two retries, after other failures',
  async t => {
    t.equal(retryVerdict({ ...reset, answered: true }, 'GET', false, 1), 'no')
    t.equal(retryVerdict({ ...connect, bodyBegun: true }, 'PUT', true, 1), 'no')
    t.equal(retryVerdict(connect, 'GET', false, 2), 'other_member')
    t.equal(retryVerdict(connect, 'GET', false, 3), 'no')
    for (const code of [
      'upstream_header_timeout',
      'upstream_bad_response',
      'request_timeout',
      'internal',
    ] as const) {
      t.equal(retryVerdict({ ...reset, code }, 'GET', false, 1), 'no', code)
    }
  },
)
