/** Each duration falls into the first bucket whose bound is not below it. */
import t from 'tap'
import { bucketBounds, bucketCount, bucketOf } from '../../../../lib/proxy/observe/histogram.ts'

const slowly = (ms: number) => {
  const found = bucketBounds.findIndex(bound => ms / 1000 <= bound)
  return found === -1 ? bucketBounds.length : found
}

t.test('the bounds double from half a millisecond', async t => {
  t.equal(bucketBounds[0], 0.0005)
  t.equal(bucketBounds.at(-1), 16.384)
  t.equal(bucketCount, bucketBounds.length + 1)
})

t.test('the same bucket as by looking at each bound', async t => {
  const edges = bucketBounds.flatMap(bound => [bound * 1000 - 0.0001, bound * 1000, bound * 1000 + 0.0001])
  for (const ms of [...edges, 0, 0.1, 3.7, 1e6, 1e15]) t.equal(bucketOf(ms), slowly(ms), `${ms} ms`)
})

t.test('what is not a duration counts as none', async t => {
  for (const ms of [-1, Number.NaN, Number.NEGATIVE_INFINITY]) t.equal(bucketOf(ms), 0)
  t.equal(bucketOf(Number.POSITIVE_INFINITY), bucketCount - 1)
})
