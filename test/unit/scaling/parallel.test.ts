/** Many clones at once: no storm of restores, and no two that are the same life. */
import t from 'tap'
import { limits } from '../../../lib/scaling/limits.ts'
import { Lab } from '../../support/scaling-lab.ts'

t.test('no more than four are made at once', async t => {
  const lab = new Lab()
  await lab.boot()
  const making = new Set<string>()
  let most = 0
  lab.faults.driver = (point, name) => {
    if (point === 'clone:before') making.add(name)
    if (point === 'clone:running') making.delete(name)
    most = Math.max(most, making.size)
    return null
  }
  await lab.scaleTo(10)
  t.equal(lab.backends().length, 10)
  t.equal(most, 4)
  t.equal(limits.parallelMax, 4)
  await lab.close()
})

t.test('clones of one instant are different lives', async t => {
  const lab = new Lab()
  await lab.boot()
  await lab.scaleTo(10)
  const { instances } = await lab.store.membership()
  t.equal(
    new Set(instances.map(({ incarnation }) => incarnation)).size,
    10,
    'each life has a name of its own',
  )
  t.ok(new Set(instances.map(({ createdAtMs }) => createdAtMs)).size < 10, 'some began at the same instant')
  await lab.close()
})
