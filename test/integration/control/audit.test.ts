/** Every mutation leaves a line in the audit trail, and so does every refusal that matters. */
import t from 'tap'
import { Audit } from '../../../lib/control/audit.ts'
import { TidegateError } from '../../../lib/errors.ts'
import { silentLog as log } from '../../../lib/log.ts'
import { createMemoryStore } from '../../../lib/store/memory.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { origin } from '../../support/origin.ts'
import { reloadable } from '../../support/reloadable.ts'

t.test('who, what, from, to, why and the outcome of each command', async t => {
  const { port } = await origin(t, 'a')
  const document = (weight: number) => ({
    listeners: [{ address: '127.0.0.1:0' }],
    admin: { address: '127.0.0.1:0' },
    threads: 0,
    store: { kind: 'memory' },
    clusters: [{ id: 'web', backends: [{ id: 'a', address: `127.0.0.1:${port}`, weight }] }],
  })
  const { server, become } = await reloadable(t, document(1))
  const { control } = server
  const backend = { cluster: 'web', backend: 'b' }
  await control.execute({ kind: 'register_backend', ...backend, host: '127.0.0.1', port, weight: 1 }, 'ann')
  await control.execute({ kind: 'drain_backend', ...backend, policy: { waitForConnections: false } }, 'ann')
  await control.execute({ kind: 'maint_backend', ...backend }, 'bob')
  await control.execute({ kind: 'ready_backend', ...backend }, 'bob')
  await control.execute({ kind: 'deregister_backend', ...backend }, 'ann')
  await become(document(2))
  await t.rejects(become({ ...document(2), threads: 1 }), { code: 'reload_refused' })
  const scale = { kind: 'scale', cluster: 'web', direction: null, targetCount: 3 } as const
  const options = { immediate: false, drainConnections: true }
  await t.rejects(control.execute({ ...scale, ...options }, 'ann'), { code: 'not_scalable' })
  await t.rejects(control.execute({ ...scale, ...options }, 'ann'), { code: 'not_scalable' })
  await t.rejects(control.execute({ kind: 'deregister_backend', ...backend }, 'ann'), {
    code: 'unknown_backend',
  })
  const lines = (await control.history(null, 100)).map(one => [
    one.cluster,
    one.actor,
    one.action,
    one.outcome,
  ])
  t.strictSame(lines.reverse(), [
    ['web', 'ann', 'register_backend', 'done'],
    ['web', 'ann', 'drain_backend', 'done'],
    ['web', 'bob', 'maint_backend', 'done'],
    ['web', 'bob', 'ready_backend', 'done'],
    ['web', 'ann', 'deregister_backend', 'done'],
    ['web', 'embedding', 'reload', 'done'],
    [null, 'embedding', 'reload', 'refused'],
    ['web', 'ann', 'scale', 'refused'],
  ])
  const about = (await control.history('web', 10)).map(({ backend }) => backend).reverse()
  t.strictSame(about, ['b', 'b', 'b', 'b', 'b', undefined, undefined], 'and says about whom')
  t.match(await control.history('web', 1), [{ to: 3, reason: /^Refused to scale to 3: .*\(not_scalable\)$/ }])
})

t.test(
  'the same refusal is written once a minute; a store that is full does not change the answer',
  async t => {
    const clock = new ManualClock()
    const store = createMemoryStore()
    const audit = new Audit({ store, clock, log })
    const refuse = (actor: string) =>
      t.rejects(
        audit.refusals({ kind: 'replace', cluster: 'web', instanceId: 'i' }, actor, async () => {
          throw new TidegateError('no_capacity', 'full')
        }),
        { code: 'no_capacity' },
      )
    await refuse('autoscale')
    await refuse('autoscale')
    await refuse('ann')
    t.equal((await store.history('web', 10)).length, 2)
    clock.advance(60_000)
    await refuse('autoscale')
    t.equal((await store.history('web', 10)).length, 3)
    await store.close()
    await refuse('bob')
  },
)
