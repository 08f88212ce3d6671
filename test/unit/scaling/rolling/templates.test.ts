/** What each instance was made from: kept with its membership, over restarts, and no longer than somebody needs it. */
import t from 'tap'
import { goldenInputs } from '../../../../lib/scaling/readiness/golden.ts'
import { Templates } from '../../../../lib/scaling/rolling/templates.ts'
import type { Write } from '../../../../lib/store/store.ts'
import { clusterConfig, Lab } from '../../../support/scaling-lab.ts'

const instance = clusterConfig().instance!
// Without texts, which are looked for as files: that takes real time, and the lab's is virtual.
const other = { ...instance, template: { release: 2 } }
const [a, b] = await Promise.all([instance, other].map(goldenInputs))

const kept = async (lab: Lab) => {
  const templates = new Templates()
  await templates.load(lab.store, ['web'])
  return templates
}

t.test('a boot is of the template of now, a live clone of that of its source', async t => {
  const lab = new Lab()
  await lab.boot()
  const [first] = lab.backends()
  await lab.reconfigure({ instance: other })
  await lab.scaleTo(2)
  const ids = lab.backends().map(({ id }) => id)
  let templates = await kept(lab)
  t.strictSame(
    ids.map(id => templates.versionOf('web', id)),
    [a, a],
    'a clone has the memory of its source, whatever the file says now',
  )
  t.strictSame(templates.get('web', a!), instance)
  await lab.operate({ type: 'replace', instance_id: first!.id, instance_ids: ids, fresh: true })
  templates = await kept(lab)
  t.strictSame(
    lab.backends().map(({ id }) => templates.versionOf('web', id)),
    [b, b],
  )
  t.strictSame(templates.get('web', b!), other)
  await lab.scaleTo(3)
  templates = await kept(lab)
  t.equal(templates.get('web', a!), null, 'nobody needs it any more')
  t.equal(templates.versionOf('web', first!.id), null)
  await lab.close()
})

t.test('a new process knows it too', async t => {
  const lab = new Lab()
  await lab.boot()
  await lab.reconfigure({ instance: other })
  lab.kill()
  await lab.boot()
  await lab.scaleTo(2)
  const templates = await kept(lab)
  for (const { id } of lab.backends()) t.equal(templates.versionOf('web', id), a)
  await lab.close()
})

t.test('what an operation may have to go back to is kept until it lets go', t => {
  const templates = new Templates()
  const commit = (write: Write) => templates.committed([write])
  commit(templates.keep('web', [{ id: 'one', version: 'v1', template: instance }], []))
  commit(templates.pin('web', 'op', { v1: instance, v2: other }))
  commit(templates.keep('web', [{ id: 'two', version: 'v2', template: other }], []))
  t.strictSame(templates.get('web', 'v1'), instance, 'nobody was made from it any more')
  t.equal(templates.versionOf('web', 'one'), null)
  commit(templates.unpin('web', 'op'))
  t.equal(templates.get('web', 'v1'), null)
  t.strictSame(templates.get('web', 'v2'), other)
  t.equal(templates.get('web', 'constructor'), null)
  t.match(templates.unpin('web', 'op'), { put: 'value', key: 'templates:web' })
  t.end()
})
