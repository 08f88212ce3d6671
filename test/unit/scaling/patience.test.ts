/** Before the point of no return: what may pass is tried again, as often as its phase has patience and as long as its deadline is. */
import t from 'tap'
import { anotherTry, pauseMs } from '../../../lib/scaling/patience.ts'
import type { JournalEntry } from '../../../lib/store/store.ts'
import type { Fault } from '../../support/fake-driver.ts'
import { check } from '../../support/scaling-check.ts'
import { Lab } from '../../support/scaling-lab.ts'

/** `s` started, `f` failed and tried again, `R` undone. */
const journal = (text: string): readonly JournalEntry[] =>
  text.split(' ').map((pair, index) => {
    const [step, kind] = pair.split(':') as [string, 's' | 'f' | 'R']
    const said = ({ s: 'started', f: 'failed', R: 'reverted' } as const)[kind]
    const data = kind === 'f' ? { again: true } : {}
    return { operation: 'o', seq: index + 1, step, kind: said, data, atMs: 0 }
  })

t.test('a phase has so many failures, whichever of its steps they are of', async t => {
  const minute = 60_000
  const one = journal('prepare:s')
  t.equal(anotherTry('prepare', 'snapshot_failed', one, minute), true)
  const two = journal('prepare:s prepare:f prepare:R prepare:s clone:s')
  t.equal(anotherTry('clone', 'hypervisor_failed', two, minute), true)
  const three = journal('prepare:s prepare:f prepare:R prepare:s clone:s clone:f clone:R clone:s')
  t.equal(anotherTry('clone', 'hypervisor_failed', three, minute), false, 'the third of the phase')
  t.equal(anotherTry('identify', 'guest_unreachable', three, minute), true, 'another phase begins anew')
  t.equal(anotherTry('clone', 'disk_full', one, minute), false, 'does not pass')
  t.equal(anotherTry('clone', 'step_timeout', one, minute), false, 'its deadline is over')
  t.equal(anotherTry('verify', 'instance_died', one, minute), false, 'stays dead')
  t.equal(anotherTry('plan', 'hypervisor_unreachable', one, minute), false, 'has no patience')
  t.equal(anotherTry('of a newer version', 'hypervisor_failed', one, minute), false)
  t.equal(anotherTry('prepare', 'snapshot_failed', one, 1_000), false, 'no time is left after the pause')
})

t.test('the pause doubles from what its phase begins with', async t => {
  t.strictSame(
    [1, 2, 3, 4].map(attempt => pauseMs('identify', attempt)),
    [0, 200, 400, 800],
  )
  t.strictSame(
    [1, 2, 3, 9].map(attempt => pauseMs('clone', attempt)),
    [0, 1_000, 2_000, 5_000],
  )
})

/** The first `times` acts at `point` fail. */
function failing(lab: Lab, point: string, times: number, how: Fault = 'fail'): void {
  let left = times
  lab.faults.driver = at => (at === point && left-- > 0 ? how : null)
}

const cases: readonly [what: string, point: string, phase: string, step: string, how: Fault][] = [
  ['a snapshot', 'snapshot:paused', 'preparing', 'prepare', 'fail'],
  ['a clone', 'clone:running', 'preparing', 'clone', 'fail'],
  ['a clone that is left half made', 'clone:running', 'preparing', 'clone', 'abandon'],
  ['an identity', 'identify:told', 'configuring', 'identify', 'fail'],
]
for (const [what, point, phase, step, how] of cases)
  t.test(`${what} fails and is tried again`, async t => {
    const lab = new Lab()
    await lab.boot()
    const told = new Set<string>()
    lab.watch.onWrite = batch => {
      for (const write of batch)
        if ('put' in write && write.put === 'journal' && write.record.step === 'identify')
          if (write.record.kind === 'started')
            told.add(JSON.stringify((write.record.data as { items: unknown }).items))
    }
    failing(lab, point, 1, how)
    const operation = await lab.scaleTo(2)
    t.match(operation, { status: 'completed' })
    t.match(
      operation.steps.find(one => one.step === step),
      { status: 'done', attempts: 2 },
    )
    const attempts = operation.phases.find(one => one.phase === phase)?.attempts
    t.equal(attempts, phase === 'preparing' ? 3 : 2, 'its phase tells of it')
    t.equal(told.size, 1, 'whoever is told twice is told the same')
    const numbers = lab.scaling.report.numbers()
    t.match(numbers.retries, [{ labels: { type: 'scale_out', phase }, value: 1 }])
    await check(t, lab)
    await lab.close()
  })

t.test('the threshold: everything is undone, and the error is the last failure', async t => {
  const lab = new Lab()
  await lab.boot()
  failing(lab, 'clone:tagged', 3)
  const operation = await lab.scaleTo(2)
  t.match(operation, { status: 'failed', phase: 'rolled_back', error: { code: 'hypervisor_failed' } })
  t.match(
    operation.steps.find(one => one.step === 'clone'),
    { attempts: 3 },
  )
  await check(t, lab)
  await lab.close()
})

t.test('who cancels does not wait for the end of a pause', async t => {
  const lab = new Lab()
  await lab.boot()
  failing(lab, 'clone:tagged', 1)
  const request = { type: 'scale_out', target_count: 2, immediate: false, drain_connections: true } as const
  const { id } = await lab.time.until(lab.scaling.start('web', request, 'test'))
  await lab.time.pass(500)
  t.match((await lab.scaling.view(id)).steps.at(-1), { step: 'clone', status: 'reverted' })
  const askedAt = lab.time.now
  await lab.time.until(lab.scaling.cancel(id))
  const operation = await lab.time.until(lab.scaling.wait(id, 60_000))
  t.match(operation, { status: 'cancelled' })
  t.ok(lab.time.now - askedAt < 500, 'at once')
  await check(t, lab)
  await lab.close()
})

t.test('a resize is tried once: its application would hear of every try', async t => {
  const lab = new Lab()
  await lab.boot()
  failing(lab, 'resize:before', 1)
  const [one] = lab.backends()
  const operation = await lab.operate({ type: 'resize', instance_id: one!.id, resources: { cpus: 2 } })
  t.match(operation, { status: 'failed', phase: 'rolled_back' })
  await check(t, lab)
  await lab.close()
})
