/**
 * The same faults at every step of every recipe, on nodes in memory: the controller ends, a machine is killed, its application is, it stands still for a
 * while, the disk is full. Whatever becomes of the operation, it ends, and then nothing is left over, missing or half done.
 * On real VMs: `npm run test:faults-vm`.
 */
import t from 'tap'
import type { OperationRequest, OperationView } from '../../../lib/scaling/operation.ts'
import { type RecipeKind, recipes } from '../../../lib/scaling/recipes.ts'
import { rollingRecipe } from '../../../lib/scaling/steps/rolling.ts'
import type { Write } from '../../../lib/store/store.ts'
import type { FakeInstance } from '../../support/fake-driver.ts'
import { faultsOf } from '../../support/scaling-check.ts'
import { Lab, type LabOptions } from '../../support/scaling-lab.ts'

const { instance } = new Lab().config

interface Scene {
  readonly type: RecipeKind
  readonly options?: LabOptions
  /** How many serve before. */
  readonly from: number
  /** What else is as it is before. */
  readonly arrange?: (lab: Lab, ids: readonly string[]) => Promise<unknown>
  /** Left out: a rolling replace of all. */
  readonly request?: (ids: readonly string[]) => OperationRequest
  /** Who takes over stands by from the beginning. */
  readonly heirs?: true
  /** Whom it removes or changes, while they run. */
  readonly concerns?: (ids: readonly string[]) => readonly string[]
}

const first = (ids: readonly string[]) => ids.slice(0, 1)
const all = (ids: readonly string[]) => ids

const scale = (type: 'scale_out' | 'scale_in', target_count: number) => (): OperationRequest => ({
  ...{ type, target_count, immediate: false, drain_connections: true },
})
const golden: LabOptions = { cluster: { instance: { ...instance!, cloneFrom: 'golden' } } }
const fromNothing: LabOptions = { cluster: { scaling: { ...new Lab().config.scaling, minInstances: 0 } } }

const growing: LabOptions = { cluster: { scaling: { ...new Lab().config.scaling, resizeFirstCpus: 2 } } }

const wait = {
  ...{ idleAfterMs: Number.POSITIVE_INFINITY, maxWaiting: 10, waitTimeoutMs: 10_000 },
  afterFailure: true,
} as const
const standby: LabOptions = {
  cluster: {
    standby: { scaleToZero: null, warmPool: null, clones: { count: 1, refresh: '* * * * *', wait } },
  },
}
const nextRelease = { instance: { ...instance!, template: { release: 2 } } }
const trial = { pause_seconds: 1, max_failure_ratio: 0.1 }

const scenes: Readonly<Record<string, Scene>> = {
  'scale_out, cold': { type: 'scale_out', options: fromNothing, from: 0, request: scale('scale_out', 2) },
  'scale_out, clones': { type: 'scale_out', from: 2, request: scale('scale_out', 4) },
  'scale_out, golden': { type: 'scale_out', options: golden, from: 1, request: scale('scale_out', 3) },
  'scale_out, resize first': {
    ...{ type: 'scale_out_to_cpus', options: growing, from: 2, concerns: all },
    request: () => ({ type: 'scale_out', target_cpus: 5 }),
  },
  // The original stays.
  scale_in: { type: 'scale_in', from: 3, request: scale('scale_in', 1), concerns: ids => ids.slice(1) },
  replace: {
    ...{ type: 'replace', from: 2, concerns: first },
    request: ([id]) => ({ type: 'replace', instance_id: id! }),
  },
  'replace --all': {
    type: 'replace',
    from: 2,
    concerns: all,
    request: ids => ({ type: 'replace', instance_id: ids[0]!, instance_ids: ids, fresh: true }),
  },
  resize: {
    type: 'resize',
    from: 2,
    concerns: first,
    request: ([id]) => ({ type: 'resize', instance_id: id!, resources: { cpus: 3 } }),
  },
  'replace on trial': {
    type: 'replace_on_trial',
    from: 2,
    concerns: first,
    arrange: lab => lab.reconfigure(nextRelease),
    request: ([id]) => ({ type: 'replace', instance_id: id!, instance_ids: [id!], fresh: true, trial }),
  },
  rolling_replace: {
    type: 'rolling_replace',
    from: 2,
    concerns: all,
    arrange: lab => lab.reconfigure(nextRelease),
  },
  failover: {
    type: 'failover',
    options: standby,
    from: 2,
    heirs: true,
    arrange: async (lab, [id]) => {
      for (let looks = 0; looks < 2; looks++) await lab.time.until(lab.scaling.readiness.keepReady())
      for (const node of lab.nodes) node.kill(id!)
    },
    request: ([id]) => ({ type: 'failover', instance_id: id!, instance_ids: [id!] }),
  },
}

/** Done to a scene right after a step's `started` is in the journal; hands back what mends it. */
type Fault = (lab: Lab, whom: FakeInstance | undefined) => () => void

const standsStillMs = 45_000
const faults: Readonly<Record<string, Fault>> = {
  'the machine is killed': (_lab, whom) => {
    if (whom) whom.state = 'stopped'
    return () => {}
  },
  'the application is killed': (_lab, whom) => {
    if (whom) whom.healthy = false
    return () => {
      if (whom) whom.healthy = true
    }
  },
  'the machine stands still': (lab, whom) => {
    if (!whom) return () => {}
    whom.busy = true
    lab.faults.driver = (_point, name) => (name === whom.name && whom.busy ? 'deaf' : null)
    const mend = () => {
      whom.busy = false
    }
    lab.time.connect(() => true).after(standsStillMs, mend)
    return mend
  },
}
const diskFull: Fault = lab => {
  lab.faults.driver = point => (/^(create|clone|snapshot):tagged/.test(point) ? 'full' : null)
  return () => {
    lab.faults.driver = () => null
  }
}

t.test('each recipe has a scene', t => {
  const shown = new Set(Object.values(scenes).map(({ type }) => type))
  t.strictSame([...shown].sort(), [...Object.keys(recipes), 'rolling_replace'].sort())
  t.end()
})

for (const [name, scene] of Object.entries(scenes)) {
  t.test(name, async t => {
    for (const step of stepsOf(scene)) {
      t.same(await crashed(scene, step, 'started'), [], `${step}: the controller ends as it begins`)
      t.same(await crashed(scene, step, 'done'), [], `${step}: the controller ends when it is done`)
      t.same(await faulted(scene, step, diskFull, null), [], `${step}: the disk is full`)
      for (const victim of victims(scene, step))
        for (const [what, fault] of Object.entries(faults))
          t.same(await faulted(scene, step, fault, victim), [], `${step}: ${what} (${victim})`)
    }
  })
}

/** `concerned`: it leaves or is changed · `old`: the others that were there · `new`: what the operation makes. */
type Victim = 'concerned' | 'old' | 'new'

/** Of a rolling replace one batch each for those who are there; what its batches are is in other scenes. */
function stepsOf({ type, from }: Scene): readonly string[] {
  const batches = Array.from({ length: from }, (_, index) => [`${index}`])
  const rolling = { batches } as unknown as Parameters<typeof rollingRecipe>[0]
  const { steps } = type === 'rolling_replace' ? rollingRecipe(rolling) : recipes[type]
  return steps.map(({ name }) => name)
}

/** Who runs when the step begins. A case that then strikes nobody fails. */
function victims(scene: Scene, step: string): readonly Victim[] {
  const { from, heirs = false, concerns = () => [] } = scene
  const names = stepsOf(scene)
  const ids = Array.from({ length: from }, (_, index) => `${index}`)
  const concerned = concerns(ids)
  // Who leaves has ended when the step after `stop` begins, and in a batch when the next one does.
  const over = (after: string) => names.includes(after) && names.indexOf(step) > names.indexOf(after)
  const gone = over('stop') || over('batch_2')
  const made = heirs || over('clone') || over('batch_1')
  return [
    ...(concerned.length > 0 && !gone ? (['concerned'] as const) : []),
    ...(from > concerned.length ? (['old'] as const) : []),
    ...(made ? (['new'] as const) : []),
  ]
}

/** One of them that runs. */
function whoIs(victim: Victim, { concerns = () => [] }: Scene, before: readonly string[], lab: Lab) {
  const concerned = concerns(before)
  const kindOf = (name: string): Victim =>
    concerned.includes(name) ? 'concerned' : before.includes(name) ? 'old' : 'new'
  const instances = lab.nodes.flatMap(node => [...node.instances.values()])
  return instances.find(({ name, state }) => kindOf(name) === victim && state !== 'stopped')
}

function begin(lab: Lab, { request }: Scene, ids: readonly string[]): Promise<OperationView> {
  if (request) return lab.scaling.start('web', request(ids), 'test')
  return lab.scaling.replaceRolling('web', { batch_size: 1, ...trial }, 'test')
}

/** `victim` null: it happens to a node. */
async function faulted(scene: Scene, step: string, fault: Fault, victim: Victim | null) {
  const { lab, before } = await prepared(scene)
  let mend = () => {}
  let begun = false
  let struck = victim === null
  lab.watch.onWrite = batch => {
    if (!comes(batch, step, 'started')) return
    lab.watch = {}
    begun = true
    const whom = victim === null ? undefined : whoIs(victim, scene, before, lab)
    struck ||= whom !== undefined
    mend = fault(lab, whom)
  }
  const operation = await operate(lab, scene, before).catch(refused)
  mend()
  const wrong = await ended(lab, operation)
  return begun && struck ? wrong : [...wrong, begun ? `there was no ${victim} to strike` : 'it never began']
}

async function crashed(scene: Scene, step: string, kind: 'started' | 'done') {
  const { lab, before } = await prepared(scene)
  let at = 0
  lab.watch.onWrite = batch => {
    if (at === 0 && comes(batch, step, kind)) at = lab.writes
  }
  lab.faults.store = (moment, write) => (moment === 'after' && write === at ? 'crash' : null)
  const survived = await lab.survive(async () => {
    const { id } = await begin(lab, scene, before)
    await lab.scaling.wait(id, 3_600_000)
  })
  if (survived) return [at > 0 ? 'it did not crash' : `it never was ${kind}`]
  lab.faults = {}
  await lab.boot()
  return ended(lab, null)
}

async function prepared(scene: Scene) {
  const lab = new Lab(scene.options ?? {})
  await lab.boot()
  const count = lab.scaling.count('web')
  if (count !== scene.from) await lab.scaleTo(scene.from)
  const before = lab.backends().map(({ id }) => id)
  await scene.arrange?.(lab, before)
  return { lab, before }
}

async function operate(lab: Lab, scene: Scene, ids: readonly string[]): Promise<OperationView> {
  const { id } = await lab.time.until(begin(lab, scene, ids))
  return lab.time.until(lab.scaling.wait(id, 3_600_000))
}

/** In words what is wrong once everything is mended and reconcile has been round. */
async function ended(lab: Lab, operation: OperationView | null): Promise<readonly string[]> {
  for (let round = 0; round < 2; round++) {
    await lab.time.pass(60_000)
    await lab.time.until(lab.scaling.reconcile())
    await lab.time.until(lab.settle())
    await lab.time.until(lab.scaling.readiness.keepReady())
  }
  const wrong = (await faultsOf(lab)).filter(what => !/^snapshots left: \S+-golden \| none$/.test(what))
  if (operation?.status === 'running') wrong.push('the operation runs for ever')
  await lab.close()
  return wrong
}

function comes(batch: readonly Write[], step: string, kind: 'started' | 'done'): boolean {
  return batch.some(
    write =>
      'put' in write && write.put === 'journal' && write.record.step === step && write.record.kind === kind,
  )
}

/** At the door: then nothing was begun. */
const refused = () => null
