import t from 'tap'
import { hashOf, pointsPerMember, rehashed, writePoints } from '../../../../lib/cluster/balance/hash.ts'

t.test('the same for the same text, 32 bits, and spread evenly', async t => {
  t.equal(hashOf('192.0.2.1'), hashOf('192.0.2.1'))
  const eighths = Array<number>(8).fill(0)
  for (let i = 0; i < 8000; i++) {
    const hash = hashOf(`10.0.${i >> 8}.${i & 255}`)
    if (hash < 0 || hash >= 2 ** 32 || !Number.isInteger(hash)) throw new Error(`${hash}`)
    eighths[Math.floor(hash / 2 ** 29)]!++
  }
  for (const count of eighths) t.ok(count > 850 && count < 1150, `${count} of a mean of 1000`)
})

t.test('each character counts, and their number', async t => {
  const texts = ['', '\0', '\0\0', 'a', 'b', 'ab', 'ba', 'aba', 'é', 'Ā', '\u{1f600}', 'a\u{ff}', 'a\u{1ff}']
  t.equal(new Set(texts.map(text => hashOf(text))).size, texts.length)
})

t.test('a hash of a hash has nothing to do with it', async t => {
  // Of the clients of one eighth of the ring, each eighth of the other has its part.
  const eighths = Array<number>(8).fill(0)
  for (let i = 0; i < 8000; i++) eighths[Math.floor(rehashed(i * 65_536, 77) / 2 ** 29)]!++
  for (const count of eighths) t.ok(count > 850 && count < 1150, `${count} of a mean of 1000`)
  t.not(rehashed(1, 2), rehashed(1, 3))
})

t.test("a member's points follow from its id alone", async t => {
  const points = (id: string) => {
    const out = new Uint32Array(pointsPerMember + 2)
    writePoints(id, out, 1)
    t.equal(out[0], 0)
    t.equal(out[pointsPerMember + 1], 0)
    return [...out.subarray(1, -1)]
  }
  t.strictSame(points('a'), points('a'))
  t.equal(new Set([...points('a'), ...points('b'), ...points('a1')]).size, 3 * pointsPerMember)
})
