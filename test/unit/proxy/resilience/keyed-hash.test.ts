import t from 'tap'
import { KeyedHash } from '../../../../lib/proxy/resilience/keyed-hash.ts'

const key = Uint8Array.from({ length: 8 }, (_, i) => i)
const hex = (word: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(word)
  return bytes.toString('hex')
}
const digest = (hash: KeyedHash, text: string) => {
  hash.of(text)
  return hex(hash.low) + hex(hash.high)
}

t.test("the reference implementation's own vectors", async t => {
  const hash = new KeyedHash(key)
  const vectors = [
    '218d1f59b9b83cc8',
    'be552412f8387315',
    '064f39ef7c50eb57',
    'ce0f1a45f7060679',
    'd5e78a175be52ea1',
    'cb9d7c3f2f3db580',
    'ce3e91358aa2bc25',
    'ff202728b07bc684',
    'edfee820bce4858c',
    '5b51cccc13888307',
    '95b0469f06a6f2ee',
  ]
  for (const [length, expected] of vectors.entries())
    t.equal(digest(hash, String.fromCharCode(...Array(length).keys())), expected, `${length} bytes`)
})

t.test('another key, other places; an endless text costs no more than a long one', async t => {
  const one = new KeyedHash(key)
  const other = new KeyedHash(Uint8Array.from(key, byte => byte ^ 1))
  t.not(digest(one, '192.0.2.1'), digest(other, '192.0.2.1'))
  t.equal(digest(one, 'x'.repeat(1_024 + 256)), digest(one, `${'x'.repeat(1_024)}${'y'.repeat(256)}`))
  t.not(digest(one, `${'x'.repeat(1_023)}y`), digest(one, 'x'.repeat(1_024)))
})
