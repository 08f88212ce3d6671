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
    t.strictSame(seen, ['6', '3'], 'all in as the old ones close, and all of these out')
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

t.test(
  'a new one that is ill or dead as soon as it serves: the old ones are opened again in one generation, and all new ones go in one',
  async t => {
    for (const [what, code] of [
      ['ill', 'instance_unhealthy'],
      ['dead', 'instance_died'],
    ] as const)
      for (const all of [true, false]) {
        const { lab, ids, request } = await three()
        const tables: number[] = []
        lab.events.subscribe(({ event }) => {
          if (event.type === 'generation') tables.push(event.members)
          if (event.type !== 'operation_step' || event.step !== 'register' || event.status !== 'done') return
          const made = [...lab.nodes[0]!.instances.values()].find(({ name }) => !ids.includes(name))!
          if (what === 'ill') made.healthy = false
          else lab.nodes[0]!.kill(made.name)
        })
        const operation = await lab.operate(all ? request : { type: 'replace', instance_id: ids[0]! })
        const label = `${what}, ${all ? 'all' : 'one'}`
        t.match(operation, { status: 'failed', phase: 'rolled_back', error: { code } }, label)
        const stays = all ? ids.join(', ') : ids[0]!
        t.ok(operation.error?.message.endsWith(`what was made goes again and ${stays} stays`), label)
        t.strictSame(
          lab.backends().map(({ id, state }) => `${id} ${state}`),
          ids.map(id => `${id} ready`),
          label,
        )
        t.strictSame(tables, [all ? 6 : 4, all ? 6 : 4, 3], label)
        t.match(await lab.store.history('web', 1), [{ action: 'replace', outcome: 'failed', to: stays }])
        await check(t, lab)
        await lab.close()
      }
  },
)

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
