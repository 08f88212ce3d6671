/** All instances of a cluster replaced at once, by new ones of the template of now. */
import t from 'tap'
import type { OperationRequest } from '../../../lib/scaling/operation.ts'
import { check } from '../../support/scaling-check.ts'
import { Lab } from '../../support/scaling-lab.ts'

async function three() {
  const lab = new Lab({ nodes: [{ id: 'n1', cpus: 6 }] })
  await lab.boot()
  await lab.scaleTo(3)
  const ids = lab.backends().map(({ id }) => id)
  const request: OperationRequest = { type: 'replace', instance_id: ids[0]!, instance_ids: ids, fresh: true }
  return { lab, ids, request }
}

t.test(
  'the new ones serve together, all of them before one of the old leaves, and know nothing of these',
  async t => {
    const { lab, ids, request } = await three()
    const seen: string[] = []
    lab.events.subscribe(({ event }) => {
      if (event.type === 'generation') seen.push(`${event.members}`)
    })
    const operation = await lab.operate(request)
    t.match(operation, { type: 'replace', status: 'completed', error: null })
    t.strictSame(seen, ['6', '3'], 'two generations: all in, all out')
    const now = [...lab.nodes[0]!.instances.values()]
    t.equal(now.length, 3)
    for (const { name, memory } of now) {
      t.notOk(ids.includes(name))
      t.strictSame(memory, [`booted ${name}`])
    }
    t.match(await lab.store.history('web', 1), [
      { from: ids.join(', '), outcome: 'done', reason: /^Replaced / },
    ])
    await check(t, lab)
    await lab.close()
  },
)

t.test('one of the new ones that is not healthy: all new ones go, the old ones never left', async t => {
  const { lab, ids, request } = await three()
  lab.faults.driver = (point, name) => {
    const instance = lab.nodes[0]!.instances.get(name)
    if (point === 'identify:told' && name.endsWith('-2') && instance && !ids.includes(name))
      instance.healthy = false
    return null
  }
  const operation = await lab.operate(request)
  t.match(operation, { status: 'failed', error: { code: 'instance_unhealthy' } })
  t.strictSame(
    lab.backends().map(({ id, state }) => `${id} ${state}`),
    ids.map(id => `${id} ready`),
  )
  t.equal(lab.nodes[0]!.instances.size, 3)
  lab.faults = {}
  await check(t, lab)
  await lab.close()
})

t.test('refused with the numbers where they do not fit beside the old ones', async t => {
  const { lab, request } = await three()
  await lab.scaleTo(4)
  const ids = lab.backends().map(({ id }) => id)
  await t.rejects(lab.operate({ ...request, instance_ids: ids } as OperationRequest), {
    code: 'no_capacity',
    message: 'Insufficient nodes for scale-up: need 4, found 2 with capacity',
  })
  await lab.close()
})
