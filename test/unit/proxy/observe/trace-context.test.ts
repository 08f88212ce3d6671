/** W3C Trace Context, strictly: what is valid, what is as good as absent, and that no input takes long. */
import t from 'tap'
import {
  formatTraceparent,
  parseTraceparent,
  parseTracestate,
  tracestateCharsMax,
} from '../../../../lib/proxy/observe/trace-context.ts'
import { seed, seeded } from '../../../support/members.ts'

const trace = '12345678901234567890123456789012'
const parent = '1234567890123456'
const good = `00-${trace}-${parent}-01`

t.test('valid parents', async t => {
  const fields = { traceId: trace, parentId: parent, flags: 1 }
  for (const text of [
    good,
    ` ${good}`,
    `\t ${good} \t`,
    `cc-${good.slice(3)}`,
    `cc-${good.slice(3)}-what-comes`,
  ])
    t.strictSame(parseTraceparent(text), fields, text)
  t.equal(parseTraceparent(`00-${trace}-${parent}-ff`)?.flags, 255)
})

t.test('what is not a parent', async t => {
  const bad = [
    '',
    '00',
    `${good}.`,
    `${good}-more`,
    `cc-${good.slice(3)}.more`,
    `ff-${good.slice(3)}`,
    `.0-${good.slice(3)}`,
    `0.-${good.slice(3)}`,
    `000-${good.slice(3)}`,
    `0-${good.slice(3)}`,
    `00-${'0'.repeat(32)}-${parent}-01`,
    `00-${trace}-${'0'.repeat(16)}-01`,
    `00-.${trace.slice(1)}-${parent}-01`,
    `00-${trace}1-${parent}-01`,
    `00-${trace.slice(1)}-${parent}-01`,
    `00-${trace}-${parent}2-01`,
    `00-${trace}-${parent.slice(1)}-01`,
    `00-${trace}-${parent}-.0`,
    `00-${trace}-${parent}-001`,
    `00-${trace}-${parent}-1`,
    `00-${trace.replace('1', 'A')}-${parent}-01`,
    `${good}, ${good}`,
    `cc-${good.slice(3)}-${'x'.repeat(600)}`,
  ]
  for (const text of bad) t.equal(parseTraceparent(text), null, text)
})

t.test('what is written can be read, with the flags that version 00 knows', async t => {
  t.equal(formatTraceparent(trace, parent, 1), good)
  t.equal(formatTraceparent(trace, parent, 0xff), `00-${trace}-${parent}-03`)
})

t.test('lists that are passed on', async t => {
  const key = 'abcdefghijklmnopqrstuvwxyz0123456789_-*/'
  const value = Array.from({ length: 0x7f - 0x20 }, (_, i) => String.fromCharCode(0x20 + i))
    .filter(char => char !== ',' && char !== '=')
    .join('')
  const many = (n: number) => Array.from({ length: n }, (_, i) => `k${i}=${i}`).join(',')
  const cases: readonly (readonly [string, string])[] = [
    ['foo=1', 'foo=1'],
    ['foo=1 \t , \t bar=2, \t baz=3', 'foo=1,bar=2,baz=3'],
    ['\t foo=1 \t', 'foo=1'],
    [',,foo=1,,', 'foo=1'],
    [`${key}=${value}`, `${key}=${value}`],
    [`${key}@a-z0-9_-*/=x`, `${key}@a-z0-9_-*/=x`],
    [`foo=1,${'z'.repeat(256)}=1`, `foo=1,${'z'.repeat(256)}=1`],
    [`${'t'.repeat(241)}@${'v'.repeat(14)}=1`, `${'t'.repeat(241)}@${'v'.repeat(14)}=1`],
    [many(32), many(32)],
  ]
  for (const [field, expected] of cases) t.equal(parseTracestate(field), expected, field.slice(0, 60))
})

t.test('lists that are dropped as a whole', async t => {
  const many = Array.from({ length: 33 }, (_, i) => `k${i}=${i}`).join(',')
  const bad = [
    '',
    ' ',
    ',',
    'foo',
    'foo=',
    'foo=,bar=3',
    'foo=bar=baz',
    'foo =1',
    'FOO=1',
    'foo.bar=1',
    'foo@=1,bar=2',
  ]
  bad.push(
    '@foo=1',
    'foo@@bar=1',
    'foo@bar@baz=1',
    'foo=1,foo=1',
    'foo=1,foo=2',
    `foo=1,${'z'.repeat(257)}=1`,
  )
  bad.push(
    `${'t'.repeat(242)}@v=1`,
    `t@${'v'.repeat(15)}=1`,
    many,
    'foo=é',
    'foo=\u0001',
    `foo=${'v'.repeat(257)}`,
  )
  for (const field of bad) t.equal(parseTracestate(field), null, field.slice(0, 60))
})

t.test('a long list loses its long members first, then the last', async t => {
  const long = `long=${'x'.repeat(200)}`
  const short = Array.from({ length: 30 }, (_, i) => `key-${String(i).padStart(2, '0')}=${'y'.repeat(30)}`)
  const kept = parseTracestate([short[0], long, ...short.slice(1)].join(',')) ?? ''
  t.ok(kept.length <= tracestateCharsMax && kept.length > tracestateCharsMax - 40)
  t.notOk(kept.includes('long='))
  t.ok(kept.startsWith(`${short[0]},${short[1]}`) && !kept.includes('key-29'))
})

t.test('random fields: nothing throws, and what is accepted is accepted again unchanged', async t => {
  const start = seed()
  t.comment(`SEED=${start}`)
  const random = seeded(start)
  const pieces = [
    'foo',
    '=',
    ',',
    ' ',
    '\t',
    '@',
    '-',
    '00',
    trace,
    parent,
    '01',
    'é',
    '"',
    'x'.repeat(130),
    '\0',
  ]
  let accepted = 0
  for (let i = 0; i < 20_000; i++) {
    const text = Array.from(
      { length: 1 + Math.floor(random() * 10) },
      () => pieces[Math.floor(random() * pieces.length)],
    ).join('')
    const state = parseTracestate(text)
    if (state !== null) {
      accepted++
      if (parseTracestate(state) !== state) t.fail(JSON.stringify(text))
    }
    // One character of a good parent changed: either still one by the letter of the standard, or none.
    const at = Math.floor(random() * good.length)
    const changed = good.slice(0, at) + text.charAt(0) + good.slice(at + 1)
    const read = parseTraceparent(changed)
    if (read !== null && !/^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(changed)) t.fail(changed)
  }
  t.ok(accepted > 100)
})

t.test('a field full of white space is read in one pass', async t => {
  // By backtracking this would be 10^10 steps.
  const field = `a=1${' '.repeat(100_000)}b`
  t.equal(parseTracestate(field), null)
  t.equal(parseTraceparent(field), null)
})
