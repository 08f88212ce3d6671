/** Scale to zero and back, over fake nodes in virtual time. */
import t from 'tap'
import { drainPolicy } from '../../../support/drain-policy.ts'
import { Lab } from '../../../support/scaling-lab.ts'

const { instance, scaling } = new Lab().config
const wake = { idleAfterMs: 10_000, maxWaiting: 10, waitTimeoutMs: 30_000 }

async function started(over = {}) {
  const cluster = {
    instance: { ...instance!, cloneFrom: 'golden' as const },
    scaling: { ...scaling, minInstances: 0 },
    standby: { scaleToZero: wake, warmPool: null },
    ...over,
  }
  const lab = new Lab({ cluster })
  await lab.boot()
  const wanted = async () => {
    await lab.time.until(lab.scaling.readiness.wanted('web'))
    await lab.time.until(lab.settle())
  }
  /** A look a second, as the schedule does. */
  const idle = async (seconds: number) => {
    for (let i = 0; i < seconds; i++) {
      await lab.time.pass(1_000)
      await lab.time.until(lab.scaling.readiness.lookForIdle())
    }
    await lab.time.until(lab.settle())
  }
  const operations = async () =>
    (await lab.scaling.list({ cluster: 'web' }))
      .map(one => `${one.type} ${one.actor} ${one.status}`)
      .reverse()
  return { lab, wanted, idle, operations }
}

t.test('nobody is started without need; who is waited for is, once; who is idle leaves', async t => {
  const { lab, wanted, idle, operations } = await started()
  await lab.time.until(lab.scaling.reconcile())
  t.strictSame(await operations(), [])
  await lab.time.until(Promise.all([1, 2, 3].map(() => lab.scaling.readiness.wanted('web'))))
  await lab.time.until(lab.settle())
  t.strictSame(await operations(), ['scale_out demand completed'])
  await wanted()
  t.equal((await operations()).length, 1, 'there is somebody')
  await idle(9)
  t.equal(lab.scaling.count('web'), 1)
  await idle(4)
  t.equal(lab.scaling.count('web'), 0)
  t.strictSame(await operations(), ['scale_out demand completed', 'scale_in idle completed'])
  t.equal(lab.nodes[0]!.instances.size, 0)
  await idle(30)
  await wanted()
  t.equal(lab.scaling.count('web'), 1)
  const [clone] = lab.nodes[0]!.instances.values()
  t.match(clone!.snapshot, /-golden$/, 'from nothing to one by a clone')
  t.strictSame(lab.violations, [])
  await lab.close()
})

t.test('a cluster of live clones comes back from its golden snapshot', async t => {
  const { lab, wanted, idle } = await started({ instance })
  await wanted()
  await lab.scaleTo(2)
  t.equal(lab.nodes[0]!.snapshots.size, 1)
  await idle(15)
  t.equal(lab.scaling.count('web'), 0)
  await wanted()
  const [clone] = lab.nodes[0]!.instances.values()
  t.match(clone!.snapshot, /-golden$/)
  await lab.close()
})

t.test('one that is wanted while it leaves stays', async t => {
  const drain = drainPolicy({ gracePeriodMs: 60_000 })
  const { lab, wanted, operations } = await started({ drain })
  await wanted()
  let seen = false
  lab.events.subscribe(({ event }) => {
    if (event.type !== 'operation_step' || event.step !== 'drain' || event.status !== 'started') return
    seen = true
    void lab.scaling.readiness.wanted('web')
  })
  await lab.scaleTo(0)
  t.ok(seen)
  t.match(lab.backends(), [{ state: 'ready', admits: 'any' }])
  t.strictSame(await operations(), ['scale_out demand completed', 'scale_in test cancelled'])
  await lab.close()
})

t.test('a start that fails is tried again after a pause, not at every request', async t => {
  const { lab, wanted, operations } = await started()
  lab.faults.driver = point => (point === 'create:running' ? 'fail' : null)
  await wanted()
  await wanted()
  await wanted()
  t.strictSame(await operations(), ['scale_out demand failed'])
  lab.faults = {}
  await lab.time.pass(6_000)
  await wanted()
  t.strictSame(await operations(), ['scale_out demand failed', 'scale_out demand completed'])
  await lab.close()
})

t.test('a cluster that keeps a minimum knows nothing of this', async t => {
  const { lab, wanted, idle } = await started({ scaling, standby: new Lab().config.standby })
  await wanted()
  await idle(60)
  t.equal(lab.scaling.count('web'), 1)
  await t.rejects(lab.scaleTo(0), { code: 'target_out_of_bounds' })
  await lab.close()
})
