/** New instances of a replace that die or fall ill while the old ones drain: whom they replaced stays. */
import t from 'tap'
import type { OperationRequest } from '../../../lib/scaling/operation.ts'
import { drainPolicy } from '../../support/drain-policy.ts'
import { healthConfig } from '../../support/health-config.ts'
import { check } from '../../support/scaling-check.ts'
import { Lab } from '../../support/scaling-lab.ts'

const graceMs = 600_000

/** Three that serve, each with an exchange that does not end, so that a drain takes all of its time. */
async function three(intervalMs: number) {
  const cluster = { drain: drainPolicy({ gracePeriodMs: graceMs }), health: healthConfig({ intervalMs }) }
  const lab = new Lab({ nodes: [{ id: 'n1', cpus: 8 }], cluster })
  await lab.boot()
  await lab.scaleTo(3)
  const ids = lab.backends().map(({ id }) => id)
  for (const { slot } of lab.clusters.table().clusters[0]!.members) lab.board.add(0, slot, 'inFlight', 1)
  const all: OperationRequest = { type: 'replace', instance_id: ids[0]!, instance_ids: ids, fresh: true }
  const { id } = await lab.time.until(lab.scaling.start('web', all, 'test'))
  const draining = async () => {
    while (!(await lab.scaling.view(id)).steps.some(({ step }) => step === 'drain')) await lab.time.pass(50)
    return [...lab.nodes[0]!.instances.values()].filter(({ name }) => !ids.includes(name))
  }
  return { lab, ids, id, draining, ended: () => lab.time.until(lab.scaling.wait(id, 3_600_000)) }
}

for (const [when, intervalMs] of [
  ['seen by its checks', 1_000],
  ['seen only at the end', 3_600_000],
] as const)
  t.test(
    `one that dies during the drain, ${when}: the old one stays and serves, the others leave`,
    async t => {
      const { lab, ids, id, draining, ended } = await three(intervalMs)
      const [, dead] = await draining()
      lab.nodes[0]!.kill(dead!.name)
      if (intervalMs === 1_000) {
        await lab.time.pass(30_000)
        t.match(
          lab.clusters.backend('web', ids[1]!),
          { state: 'ready' },
          'opened at once, and not at the end',
        )
        t.match(lab.clusters.backend('web', ids[0]!), { state: 'draining' })
        t.equal((await lab.scaling.view(id)).status, 'running')
      }
      const operation = await ended()
      t.match(operation, {
        ...{ status: 'failed', phase: 'failed' },
        error: {
          code: 'instance_died',
          message: `${dead!.name} died while ${ids[1]} was leaving for it: ${ids[1]} stays`,
          details: { instances: [dead!.name], kept: [ids[1]] },
        },
      })
      const now = lab.backends()
      t.equal(now.length, 3)
      t.strictSame(
        now.filter(({ id }) => ids.includes(id)).map(({ id, state }) => `${id} ${state}`),
        [`${ids[1]} ready`],
      )
      t.notOk(now.some(({ id }) => id === dead!.name))
      t.match(await lab.store.history('web', 1), [
        { action: 'replace', outcome: 'failed', reason: / stays$/ },
      ])
      await check(t, lab)
      await lab.close()
    },
  )

t.test('all that fall ill during the drain leave, and the old ones stay', async t => {
  const { lab, ids, draining, ended } = await three(1_000)
  for (const one of await draining()) one.healthy = false
  t.match(await ended(), { status: 'failed', error: { code: 'instance_unhealthy' } })
  t.strictSame(
    lab.backends().map(({ id, state }) => `${id} ${state}`),
    ids.map(id => `${id} ready`),
  )
  t.strictSame([...lab.nodes[0]!.instances.keys()].toSorted(), ids.toSorted())
  await check(t, lab)
  await lab.close()
})

t.test('when the controller ends in between, the next one keeps the old one too', async t => {
  const { lab, ids, draining } = await three(3_600_000)
  const [, dead] = await draining()
  lab.kill()
  lab.nodes[0]!.kill(dead!.name)
  await lab.boot()
  t.ok(lab.backends().some(({ id, state }) => id === ids[1] && state === 'ready'))
  t.equal(lab.backends().length, 3)
  await check(t, lab)
  await lab.close()
})
