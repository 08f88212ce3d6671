import t from 'tap'
import { inLanes } from '../../support/lanes.ts'

/** Runs jobs that end when they are told; `begun` in the order in which they began. */
function stage(jobs: readonly string[], atOnceMax: number, kinds: Parameters<typeof inLanes<string>>[2]) {
  const begun: string[] = []
  const ends = new Map<string, PromiseWithResolvers<void>>()
  const all = inLanes(jobs, atOnceMax, kinds, job => {
    begun.push(job)
    const end = Promise.withResolvers<void>()
    ends.set(job, end)
    return end.promise
  })
  const end = async (job: string) => {
    ends.get(job)!.resolve()
    await new Promise(setImmediate)
  }
  return { begun, end, all, ends }
}

t.test('in order, so many at a time', async t => {
  const { begun, end, all } = stage(['a', 'b', 'c', 'd'], 2, [])
  t.strictSame(begun, ['a', 'b'])
  await end('b')
  t.strictSame(begun, ['a', 'b', 'c'])
  await end('a')
  await end('c')
  await end('d')
  await all
  t.strictSame(begun, ['a', 'b', 'c', 'd'])
})

t.test('of a kind only so many; the others go first', async t => {
  const kind = { is: (job: string) => job.startsWith('vm'), atOnceMax: 1 }
  const { begun, end, all } = stage(['vm1', 'vm2', 'vm3', 'a', 'b'], 3, [kind])
  t.strictSame(begun, ['vm1', 'a', 'b'])
  await end('a')
  t.strictSame(begun, ['vm1', 'a', 'b'], 'a lane stays empty rather than break the rule')
  await end('vm1')
  t.strictSame(begun.at(-1), 'vm2')
  for (const job of ['b', 'vm2', 'vm3']) await end(job)
  await all
})

t.test('a job that rejects is heard of; none at all is fine', async t => {
  const { ends, all } = stage(['a', 'b'], 2, [])
  ends.get('b')!.reject(new Error('cannot be started'))
  await t.rejects(all, { message: 'cannot be started' })
  await stage([], 2, []).all
})
