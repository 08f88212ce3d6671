/** Two letters for every way in which an exchange can end, and no other. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type ErrorCode, errorTable } from '../../../../lib/errors.ts'
import {
  type EndedBy,
  ending,
  endingList,
  endings,
  type Phase,
} from '../../../../lib/proxy/observe/ending.ts'

const phases: readonly Phase[] = ['request', 'queue', 'connect', 'upload', 'head', 'data', 'last', 'tunnel']
const sides: readonly (EndedBy | null)[] = [null, 'nobody', 'client', 'backend', 'proxy']

t.test('what ended it, and where', async t => {
  const cases: readonly (readonly [string, ErrorCode | null, Phase, EndedBy | null])[] = [
    ['--', null, 'last', null],
    ['--', null, 'data', 'nobody'],
    ['PR', 'bad_request', 'request', null],
    ['PR', 'no_route', 'request', null],
    ['cR', 'request_timeout', 'request', null],
    ['PQ', 'no_backend', 'queue', null],
    ['PQ', 'queue_timeout', 'queue', null],
    ['PQ', 'overloaded', 'request', null],
    ['CQ', 'client_closed', 'queue', null],
    ['BC', 'upstream_connect_failed', 'connect', null],
    ['BC', 'upstream_tls_failed', 'head', null],
    ['PQ', 'no_backend', 'head', null],
    ['bC', 'upstream_connect_timeout', 'connect', null],
    ['cU', 'request_timeout', 'upload', null],
    ['bU', 'upstream_idle_timeout', 'upload', null],
    ['bH', 'upstream_header_timeout', 'head', null],
    ['BH', 'upstream_bad_response', 'head', null],
    ['CD', 'client_closed', 'data', null],
    ['BD', 'upstream_reset', 'data', null],
    ['PD', 'upstream_reset', 'data', 'proxy'],
    ['CL', null, 'last', 'client'],
    ['CT', null, 'tunnel', 'client'],
    ['BT', null, 'tunnel', 'backend'],
    ['PT', null, 'tunnel', 'proxy'],
    ['-T', null, 'tunnel', null],
    ['PH', 'internal', 'head', null],
  ]
  for (const [expected, error, phase, by] of cases)
    t.equal(ending(error, phase, by), expected, `${error} ${phase} ${by}`)
})

t.test('whatever the facts are, the code is one of the set', async t => {
  for (const error of [null, ...(Object.keys(errorTable) as ErrorCode[])])
    for (const phase of phases)
      for (const by of sides) {
        const code = ending(error, phase, by)
        if (!endingList.includes(code)) t.fail(`${error} ${phase} ${by}: ${code}`)
        if ((code === '--') !== (error === null && (by === null || by === 'nobody') && phase !== 'tunnel'))
          t.fail(`${error} ${phase} ${by}: ${code}`)
      }
  t.equal(ending('client_closed', 'data', null, true), 'cD')
  t.equal(ending('client_closed', 'last', null, true), 'cL')
  t.equal(ending('client_closed', 'head', null, true), 'CH', 'there is no such thing')
  t.ok(endingList.length > 20)
})

t.test('docs/observation.md has a row for each code, with the same sentence', async t => {
  const text = readFileSync(join(import.meta.dirname, '../../../../docs/observation.md'), 'utf8')
  const rows = [...text.matchAll(/^\| `([-A-Za-z]{2})` \| (.+?) \|$/gm)].map(([, code, sentence]) => [
    code,
    sentence,
  ])
  t.strictSame(rows, Object.entries(endings))
})
