/**
 * Crashes everywhere: the controller is killed before and after every single write of every kind of operation, and at every
 * stage of every act of the hypervisor. After each, a new controller must end with nothing left over, nobody paused, store and
 * table and reality the same, and a journal that explains it. Faults by chance are in `faults.test.ts`.
 */
import t from 'tap'
import type { OperationRequest } from '../../lib/scaling/operation.ts'
import { faultsOf } from '../support/scaling-check.ts'
import { Lab } from '../support/scaling-lab.ts'

interface Scenario {
  readonly name: string
  /** Instances before. */
  readonly from: number
  readonly request: (lab: Lab) => OperationRequest
  /** What may be there afterwards: undone or done. */
  readonly counts: readonly number[]
  readonly pivot: string
}

const options = { immediate: false, drain_connections: true }
const scenarios: readonly Scenario[] = [
  {
    name: 'scale_out 1 → 3',
    from: 1,
    request: () => ({ type: 'scale_out', target_count: 3, ...options }),
    counts: [1, 3],
    pivot: 'register',
  },
  {
    name: 'scale_in 3 → 1',
    from: 3,
    request: () => ({ type: 'scale_in', target_count: 1, ...options }),
    counts: [3, 1],
    pivot: 'deregister',
  },
  {
    name: 'replace',
    from: 2,
    request: lab => ({ type: 'replace', instance_id: lab.backends()[0]!.id }),
    counts: [2, 2],
    pivot: 'warm_up',
  },
]

/** A lab with `from` instances, one of which has a session. */
async function prepared(from: number): Promise<Lab> {
  const lab = new Lab()
  await lab.boot()
  lab.nodes[0]!.instances.values().next().value!.memory.push('a session')
  if (from > 1) await lab.scaleTo(from)
  return lab
}

/** Kills the controller at the `at`-th occasion; false when there was none any more, so that the row is complete. */
async function crashOnce(scenario: Scenario, where: 'before' | 'after' | 'driver', at: number) {
  const lab = await prepared(scenario.from)
  let occasions = 0
  const first = lab.writes
  // `<act>:sent` is no stage: only a second request can come of it.
  const stages = (point: string) => (point.endsWith(':sent') ? null : ++occasions === at ? 'crash' : null)
  if (where === 'driver') lab.faults.driver = stages
  else lab.faults.store = (moment, write) => (moment === where && write - first === at ? 'crash' : null)
  const survived = await lab.survive(async () => {
    const { id } = await lab.scaling.start('web', scenario.request(lab), 'test')
    await lab.scaling.wait(id, 3_600_000)
  })
  lab.faults = {}
  if (survived) return { lab, crashed: false }
  await lab.time.pass(1_000)
  await lab.boot()
  return { lab, crashed: true }
}

for (const scenario of scenarios)
  for (const where of ['before', 'after', 'driver'] as const)
    t.test(
      `${scenario.name}, killed ${where === 'driver' ? 'in each act' : `${where} each write`}`,
      async t => {
        for (let at = 1; ; at++) {
          const { lab, crashed } = await crashOnce(scenario, where, at)
          const [last] = await lab.store.operations({ limit: 1 })
          const journal = last ? await lab.store.journal(last.id) : []
          const pivoted = journal.some(entry => entry.step === scenario.pivot && entry.kind === 'done')
          const begun = last?.actor === 'test' && last.type === scenario.request(lab).type
          const expected = scenario.counts[begun && pivoted ? 1 : 0]
          const label = `${where} ${at}: ${journal.at(-1)?.step} ${journal.at(-1)?.kind}`
          t.equal(lab.scaling.count('web'), expected, `${label}: done or undone as the journal says`)
          t.equal(last?.outcome, begun && crashed && !pivoted ? 'failed' : 'completed', `${label}: outcome`)
          const immediately = (await faultsOf(lab)).filter(fault =>
            /paused|ended while|names|backend .* is/.test(fault),
          )
          t.strictSame(immediately, [], `${label}: nobody is paused or closed`)
          await lab.time.pass(40_000)
          await lab.time.until(lab.scaling.reconcile())
          t.strictSame(await faultsOf(lab), [], `${label}: nothing is wrong`)
          for (const instance of lab.nodes[0]!.instances.values())
            t.ok(instance.memory.includes('a session'), `${label}: ${instance.name} has the session`)
          await lab.close()
          if (!crashed) {
            t.ok(at > 10, `${at - 1} crashes`)
            break
          }
        }
      },
    )
