/** Whose memory is in whom: held against a history in which every life writes down every moment that it lives through. */
import t from 'tap'
import { heirsOf, type Life, lineageMax, lineageOfClone } from '../../../lib/cluster/lineage.ts'

const life = (incarnation: string, ...lineage: readonly [string, number][]): Life => ({
  incarnation,
  lineage: lineage.map(([of, asOfMs]) => ({ instance: `i-${of}`, incarnation: of, asOfMs })),
})
const shared = (lost: Life, other: Life) => heirsOf(lost, [other])[0]?.asOfMs ?? null
const names = (lost: Life, living: readonly Life[]) =>
  heirsOf(lost, living).map(({ life, asOfMs }) => `${life.incarnation}@${asOfMs}`)

t.test('the clone that was made last has the most of what is lost', async t => {
  const [a, b, c] = [life('a'), life('b', ['a', 10]), life('c', ['a', 20])]
  t.same(names(a, [b, c]), ['c@20', 'b@10'])
  t.same(names(a, [b, c, life('stranger')]), ['c@20', 'b@10'], 'who shares nothing is no heir')
  t.same(names(a, [a]), [], 'nobody is its own heir')
})

t.test('an original, a sibling and a descendant have what was there when they parted', async t => {
  const [a, b, c] = [life('a'), life('b', ['a', 10]), life('c', ['a', 20])]
  const d = life('d', ['b', 15], ['a', 10])
  t.same(names(b, [a, c, d]), ['d@15', 'a@10', 'c@10'])
  t.same(names(c, [a, b, d]), ['a@20', 'b@10', 'd@10'])
  t.same(names(d, [c]), ['c@10'], 'also when those in between are gone')
})

t.test('nothing of a client is shared by way of a golden snapshot', async t => {
  const golden = { instance: 'g', incarnation: null, asOfMs: 5 }
  const one = { incarnation: 'x', lineage: lineageOfClone(golden, life('', ['a', 1]).lineage) }
  const two = { incarnation: 'y', lineage: [golden] }
  t.same(one.lineage, [golden], 'what the golden one was made of does not matter')
  t.equal(shared(one, two), null)
})

t.test('a lineage has a greatest length, and forgets its far end', async t => {
  let last = life('0')
  for (let n = 1; n <= 40; n++) {
    const source = { instance: `i-${n - 1}`, incarnation: last.incarnation, asOfMs: n }
    last = { incarnation: String(n), lineage: lineageOfClone(source, last.lineage) }
  }
  t.equal(last.lineage.length, lineageMax)
  t.equal(shared(life('39'), last), 40)
  t.equal(shared(life('3'), last), null)
})

t.test('random families agree with what each life has written down', async t => {
  let seed = 7
  const random = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31
    return Math.floor((seed / 2 ** 31) * below)
  }
  for (let family = 0; family < 40; family++) {
    const lives: { readonly life: Life; readonly written: string[] }[] = []
    for (let now = 1; now <= 12; now++) {
      for (const { life, written } of lives) written[now] = life.incarnation
      const incarnation = `${now}`
      const source = lives.length > 0 && random(5) > 0 ? lives[random(lives.length)]! : null
      const from = source && { instance: 'i', incarnation: source.life.incarnation, asOfMs: now }
      const lineage = source && from ? lineageOfClone(from, source.life.lineage) : []
      lives.push({ life: { incarnation, lineage }, written: source ? [...source.written] : [] })
    }
    for (const { life, written } of lives) written[13] = life.incarnation
    const wrong: string[] = []
    for (const lost of lives)
      for (const other of lives) {
        if (lost === other) continue
        let last: number | null = null
        for (let at = 1; at <= 13; at++)
          if (lost.written[at] !== undefined && lost.written[at] === other.written[at]) last = at
        if (shared(lost.life, other.life) !== last)
          wrong.push(`${lost.life.incarnation} ${other.life.incarnation}`)
      }
    t.same(wrong, [])
  }
})
