import t from 'tap'
import type { RetriesConfig, RetryCondition } from '../../../lib/config/config.ts'
import type { ErrorCode } from '../../../lib/errors.ts'
import {
  answerVerdict,
  drawsOnBudget,
  type Failure,
  headerLimitMs,
  ordinaryRetries,
  type RetryVerdict,
  retryPauseMs,
  retryVerdict,
} from '../../../lib/proxy/retry.ts'

const reset: Failure = { code: 'upstream_reset', reused: true, answered: false, bodyBegun: false }
const connect: Failure = { code: 'upstream_connect_failed', reused: false, answered: false, bodyBegun: false }
const policy = (over: Partial<RetriesConfig>): RetriesConfig => ({ ...ordinaryRetries, ...over })

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

/** What is retried and when. A condition that is left out does not matter; what fits no row is not retried. */
interface Row {
  readonly codes: readonly ErrorCode[]
  readonly on?: RetryCondition
  readonly perTry?: true
  readonly reused?: true
  readonly needs: 'nothing' | 'idempotent' | 'policy'
  readonly verdict: RetryVerdict
}
const truth: readonly Row[] = [
  {
    codes: ['upstream_connect_failed', 'upstream_connect_timeout'],
    on: 'connect',
    needs: 'nothing',
    verdict: 'other_member',
  },
  {
    codes: ['upstream_reset'],
    on: 'reused',
    reused: true,
    needs: 'idempotent',
    verdict: 'fresh_connection',
  },
  { codes: ['upstream_reset'], on: 'reset', needs: 'policy', verdict: 'other_member' },
  { codes: ['upstream_header_timeout'], perTry: true, needs: 'policy', verdict: 'other_member' },
]

const codes: readonly ErrorCode[] = [
  'upstream_connect_failed',
  'upstream_connect_timeout',
  'upstream_reset',
  'upstream_header_timeout',
  'upstream_idle_timeout',
  'upstream_bad_response',
  'client_closed',
  'request_timeout',
  'payload_too_large',
  'queue_timeout',
  'internal',
]
const classes = { GET: 'safe', TRACE: 'safe', PUT: 'idempotent', DELETE: 'idempotent', POST: 'unsafe' }
const both = [false, true]
const onSets: readonly (readonly RetryCondition[])[] = [
  [],
  ['connect'],
  ['reused'],
  ['reset'],
  ['connect', 'reused', 'reset', 502, 503, 504],
]

function* cases() {
  for (const code of codes)
    for (const on of onSets)
      for (const methods of ['safe', 'idempotent'] as const)
        for (const perTryTimeoutMs of [null, 100])
          for (const [method, kind] of Object.entries(classes))
            for (const hasBody of both)
              for (const sticky of both)
                for (const reused of both)
                  yield { code, on, methods, perTryTimeoutMs, method, kind, hasBody, sticky, reused }
}
type Case = ReturnType<typeof cases> extends Generator<infer C> ? C : never

function expected(it: Case): RetryVerdict {
  const idempotent = !it.hasBody && it.kind !== 'unsafe'
  const byPolicy = !it.sticky && !it.hasBody && (it.methods === 'safe' ? it.kind === 'safe' : idempotent)
  const row = truth.find(
    row =>
      row.codes.includes(it.code) &&
      (row.on === undefined || it.on.includes(row.on)) &&
      (row.perTry === undefined || it.perTryTimeoutMs !== null) &&
      (row.reused === undefined || it.reused) &&
      (row.needs === 'nothing' || (row.needs === 'policy' ? byPolicy : idempotent)),
  )
  return row?.verdict ?? 'no'
}

t.test('the truth table of failures, all of it', async t => {
  let seen = 0
  const wrong: unknown[] = []
  for (const it of cases()) {
    seen++
    const failure = { code: it.code, reused: it.reused, answered: false, bodyBegun: false }
    const of = (over: Partial<Failure>, attempts: number) =>
      retryVerdict({ ...failure, ...over }, it.method, it.hasBody, attempts, policy(it), it.sticky)
    const verdict = of({}, 2)
    if (verdict !== expected(it)) wrong.push({ ...it, verdict })
    if (of({ answered: true }, 1) !== 'no' || of({ bodyBegun: true }, 1) !== 'no' || of({}, 3) !== 'no')
      wrong.push({ ...it, what: 'too late' })
  }
  t.equal(seen, 11 * 5 * 2 * 2 * 5 * 8)
  t.same(wrong, [])
})

t.test('answers: only those that were asked for, elsewhere, for requests that may be repeated', async t => {
  const all = policy({ on: [502, 503, 504] })
  const ask = (status: number, over: Partial<RetriesConfig> = {}, method = 'GET', hasBody = false) =>
    answerVerdict(status, method, hasBody, 1, { ...all, ...over }, false)
  for (const status of [200, 301, 404, 429, 500, 501, 505, 599]) t.equal(ask(status), 'no', String(status))
  for (const status of [502, 503, 504]) {
    t.equal(ask(status), 'other_member')
    t.equal(answerVerdict(status, 'GET', false, 1, ordinaryRetries, false), 'no', 'not by default')
    t.equal(ask(status, { on: [status === 503 ? 502 : 503] }), 'no', 'not another one')
    t.equal(ask(status, {}, 'GET', true), 'no', 'not with a body')
    t.equal(ask(status, {}, 'PUT'), 'no')
    t.equal(ask(status, { methods: 'idempotent' }, 'PUT'), 'other_member')
    t.equal(ask(status, { methods: 'idempotent' }, 'POST'), 'no')
    t.equal(answerVerdict(status, 'GET', false, 1, all, true), 'no', 'a session stays where it is')
    t.equal(answerVerdict(status, 'GET', false, 3, all, false), 'no', 'not a third time')
  }
})

t.test('what draws on the budget: whatever the application may have seen already', async t => {
  t.notOk(drawsOnBudget('other_member', 'upstream_connect_failed'))
  t.notOk(drawsOnBudget('other_member', 'upstream_connect_timeout'))
  t.notOk(drawsOnBudget('fresh_connection', 'upstream_reset'))
  t.notOk(drawsOnBudget('no', 'upstream_reset'))
  t.ok(drawsOnBudget('other_member', 'upstream_reset'))
  t.ok(drawsOnBudget('other_member', 'upstream_header_timeout'))
  t.ok(drawsOnBudget('other_member', null), 'an answer')
})

t.test('pauses: jittered, growing, bounded; none where nothing was sent', async t => {
  const almost = 1 - 2 ** -20
  t.equal(retryPauseMs('fresh_connection', 'upstream_reset', 1, almost), 0)
  t.equal(retryPauseMs('other_member', 'upstream_connect_failed', 1, almost), 0)
  t.equal(retryPauseMs('other_member', 'upstream_connect_failed', 2, almost), 50, 'a second refusal in a row')
  t.same(
    [1, 2, 3, 4, 5, 9].map(attempts => retryPauseMs('other_member', null, attempts, almost)),
    [25, 50, 100, 200, 250, 250],
  )
  t.equal(retryPauseMs('other_member', null, 3, 0), 0)
  t.equal(retryPauseMs('other_member', null, 3, 0.5), 50)
})

t.test('a try has its own limit only while another one may follow', async t => {
  const quick = policy({ perTryTimeoutMs: 100 })
  const limit = (over: { method?: string; attempts?: number; sticky?: boolean; room?: boolean } = {}) => {
    const { method = 'GET', attempts = 1, sticky = false, room = true } = over
    return headerLimitMs(5_000, quick, method, false, attempts, sticky, room)
  }
  t.equal(limit(), 100)
  t.equal(limit({ attempts: 2 }), 100)
  t.equal(limit({ attempts: 3 }), 5_000, 'the last one may take its time')
  t.equal(limit({ method: 'POST' }), 5_000)
  t.equal(limit({ sticky: true }), 5_000)
  t.equal(limit({ room: false }), 5_000, 'nor when the budget is spent')
  t.equal(headerLimitMs(5_000, ordinaryRetries, 'GET', false, 1, false, true), 5_000)
})
