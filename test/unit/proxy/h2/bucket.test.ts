/** How often something may happen. */
import t from 'tap'
import { Bucket } from '../../../../lib/proxy/h2/bucket.ts'

t.test('so many at once, so many a second in the long run', async t => {
  const bucket = new Bucket(3, 2, 0)
  const taken = (nowMs: number, times: number) => Array.from({ length: times }, () => bucket.take(nowMs))
  t.same(taken(0, 4), [true, true, true, false])
  t.same(taken(499, 1), [false])
  t.same(
    taken(1_000, 3),
    [true, true, false].map((ok, i) => (i === 1 ? true : ok)),
  )
  t.same(taken(1_000_000, 4), [true, true, true, false], 'never more than the burst')
})
