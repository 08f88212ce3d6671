/**
 * Crashes everywhere, and faults by chance.
 *
 * The first part kills the controller before and after every single write of every kind of operation, and at every stage of
 * every act of the hypervisor; the second lets a seed decide what fails, hangs, dies or crashes in a row of operations. After
 * each, a new controller must end with nothing left over, nobody paused, store and table and reality the same, and a journal
 * that explains it. A seed that fails is printed: `SEED=n node test/simulation/scaling.test.ts` replays it alone.
 */
import t from 'tap'
import type { OperationRequest } from '../../lib/scaling/operation.ts'
import type { Fault } from '../support/fake-driver.ts'
import { faultsOf } from '../support/scaling-check.ts'
import { Lab } from '../support/scaling-lab.ts'

const only = process.env.SEED
const seeds = only ? [Number(only)] : Array.from({ length: Number(process.env.SEEDS ?? 60) }, (_, n) => n + 1)

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
    pivot: 'register',
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
  if (where === 'driver') lab.faults.driver = () => (++occasions === at ? 'crash' : null)
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

if (!only)
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

const seen = { completed: 0, failed: 0, cancelled: 0 }

for (const seed of seeds)
  t.test(`seed ${seed}`, async t => {
    const lab = await simulate(seed)
    const faults = await faultsOf(lab)
    if (faults.length > 0) t.comment(`replay with SEED=${seed} node test/simulation/scaling.test.ts`)
    t.strictSame(faults, [])
    const outcomes = (await lab.store.operations({ limit: 1_000 })).map(record => record.outcome)
    for (const outcome of outcomes) seen[outcome ?? 'failed']++
    await lab.close()
  })

if (!only)
  t.test('chance has made some of everything', async t => {
    t.comment(JSON.stringify(seen))
    for (const [outcome, count] of Object.entries(seen)) t.ok(count > seeds.length / 10, outcome)
  })

/** A row of operations under faults; then quiet, and time for reconcile to mend what is left. */
async function simulate(seed: number): Promise<Lab> {
  const random = generator(seed)
  const lab = new Lab({
    nodes: [
      { id: 'n1', cpus: 6 },
      { id: 'n2', cpus: 6 },
    ],
    ...(seed % 3 === 0 ? { cluster: { scaling: { ...new Lab().config.scaling, minInstances: 2 } } } : {}),
  })
  const chance = {
    fail: 0.02,
    abandon: 0.01,
    hang: 0.004,
    crash: 0.01,
    store: 0.01,
    publish: 0.05,
    death: 0.3,
  }
  const draw = (): Fault => {
    const x = random()
    const kinds = ['fail', 'abandon', 'hang', 'crash'] as const
    let below = 0
    return (
      kinds.find(kind => {
        below += chance[kind]
        return x < below
      }) ?? null
    )
  }
  lab.faults = {
    driver: draw,
    publish: () => random() < chance.publish,
    store: () => (random() < chance.store ? (random() < 0.5 ? 'crash' : 'fail') : null),
  }
  for (let act = 0; act < 8; act++) {
    if (!lab.alive && !(await lab.boot().catch(() => false))) continue
    await lab.survive(() => one(lab, random))
    if (random() < chance.death) {
      const victims = lab.nodes.flatMap(node => [...node.instances.keys()].map(name => ({ node, name })))
      const victim = victims[Math.floor(random() * victims.length)]
      victim?.node.kill(victim.name)
    }
  }
  lab.faults = {}
  if (!lab.alive) await lab.boot()
  for (let round = 0; round < 12; round++) {
    await lab.time.pass(60_000)
    await lab.time.until(lab.scaling.reconcile())
    await lab.time.until(lab.settle())
  }
  return lab
}

async function one(lab: Lab, random: () => number): Promise<void> {
  const backends = lab.backends()
  const named = backends[Math.floor(random() * backends.length)]
  const target = 1 + Math.floor(random() * 6)
  const type = target > lab.scaling.count('web') ? 'scale_out' : 'scale_in'
  const request: OperationRequest =
    random() < 0.25 && named
      ? { type: 'replace', instance_id: named.id }
      : { type, target_count: target, immediate: random() < 0.3, drain_connections: random() < 0.8 }
  try {
    const { id } = await lab.scaling.start('web', request, 'test')
    if (random() < 0.15) {
      await lab.time.connect(() => lab.alive).sleep(random() * 400)
      await lab.scaling.cancel(id)
    }
    await lab.scaling.wait(id, 600_000)
  } catch {
    // Refused, or it ended before it could be cancelled: what counts is what is left in the end.
  }
  if (random() < 0.3) await lab.scaling.reconcile()
}

/** Mulberry32: small, and the same everywhere. */
function generator(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = Math.imul(state ^ (state >>> 15), 1 | state)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
}
