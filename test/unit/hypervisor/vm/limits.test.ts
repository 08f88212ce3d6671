/** Who is told what, and when, while a machine is given something else. */
import t from 'tap'
import type { GuestClient, Limits } from '../../../../lib/guest/client.ts'
import { changeTold } from '../../../../lib/hypervisor/vm/limits.ts'

const small = { cpus: 1, memoryBytes: 100, diskBytes: 10 }
const large = { cpus: 2, memoryBytes: 200, diskBytes: 20 }

function application(answers = true) {
  const events: unknown[] = []
  const limits = async (said: Limits) => {
    events.push(said)
    if (!answers) throw new Error('gone')
    return { application: 'acknowledged', warnings: [] } as const
  }
  return { events, client: { limits } as unknown as GuestClient }
}

t.test('after what came, before what leaves, and both when both', async t => {
  const change = async (from: Limits, to: Limits) => {
    const { events, client } = application()
    const told = await changeTold(client, from, to, async () => events.push('done'))
    t.equal(told.application, 'acknowledged')
    return events
  }
  t.same(await change(small, large), ['done', large])
  t.same(await change(large, small), [small, 'done'])
  t.same(await change(small, small), ['done', small], 'said again')
  const fewer = { ...large, cpus: 1 }
  t.same(await change({ ...small, cpus: 2 }, fewer), [small, 'done', fewer])
})

t.test('what did not come to be is taken back', async t => {
  const fail = () => Promise.reject(new Error('no'))
  const shrinking = application()
  await t.rejects(changeTold(shrinking.client, large, small, fail), { message: 'no' })
  t.same(shrinking.events, [small, large])
  const growing = application()
  await t.rejects(changeTold(growing.client, small, large, fail), { message: 'no' })
  t.same(growing.events, [], 'it never heard of it')
})

t.test('who cannot be told is in nobody’s way', async t => {
  const { client } = application(false)
  t.match(await changeTold(client, small, large, async () => 7), {
    result: 7,
    application: 'not_told',
    warnings: [/gone/],
  })
})
