/** What strangers write comes back from a JSON parser as it went in, and is ASCII on the way. */
import t from 'tap'
import { boundedJsonText, jsonText, millisText } from '../../../../lib/proxy/observe/json-text.ts'
import { seed, seeded } from '../../../support/members.ts'

const back = (text: string) => JSON.parse(`"${text}"`)

t.test('every single character', async t => {
  for (let code = 0; code <= 0xffff; code++) {
    const text = `a${String.fromCharCode(code)}b`
    const escaped = jsonText(text)
    if (!/^[ -~]*$/.test(escaped)) return void t.fail(`${code}: ${escaped} is not ASCII`)
    if (back(escaped) !== text) return void t.fail(`${code}: ${escaped}`)
  }
  t.pass('all came back')
})

t.test('random texts of nasty characters', async t => {
  const start = seed()
  t.comment(`SEED=${start}`)
  const random = seeded(start)
  const nasty = [
    '"',
    '\\',
    '\n',
    '\r',
    '\0',
    '\u001b[31m',
    '\u007f',
    'é',
    'ÿ',
    '\u2028',
    '\ud800',
    '😀',
    'a',
    ' ',
    '/',
    '\\u0041',
    '","x":"',
  ]
  for (let i = 0; i < 20_000; i++) {
    const parts = Array.from(
      { length: Math.floor(random() * 12) },
      () => nasty[Math.floor(random() * nasty.length)],
    )
    const text = parts.join('')
    if (back(jsonText(text)) !== text) return void t.fail(JSON.stringify(text))
    const bounded = back(boundedJsonText(text, 5))
    if (bounded !== text.slice(0, 5)) return void t.fail(`bounded: ${JSON.stringify(text)}`)
  }
  t.pass('all came back')
})

t.test('milliseconds are numbers, to the microsecond', async t => {
  const cases: readonly (readonly [number, string])[] = [
    [0, '0'],
    [1, '1'],
    [1.5, '1.5'],
    [0.001, '0.001'],
    [0.0004, '0'],
    [12.0345, '12.035'],
    [999.9996, '1000'],
    [2.05, '2.050'],
    [90_000_000.25, '90000000.25'],
    [-3, '0'],
    [Number.NaN, '0'],
    [Number.POSITIVE_INFINITY, '0'],
  ]
  for (const [ms, text] of cases) t.equal(Number(millisText(ms)), Number(text), String(ms))
  const random = seeded(7)
  for (let i = 0; i < 10_000; i++) {
    const ms = random() ** 4 * 1e8
    if (Math.abs(JSON.parse(millisText(ms)) - ms) > 0.0006) return void t.fail(`${ms}: ${millisText(ms)}`)
  }
  t.pass()
})
