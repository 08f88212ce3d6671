/** What begins a cooldown, what it holds, and that nothing that Tidegate does by itself is held. */
import t from 'tap'
import { check } from '../../support/scaling-check.ts'
import { Lab } from '../../support/scaling-lab.ts'

const scaling = { ...new Lab().config.scaling, scaleOutCooldownSeconds: 60, scaleInCooldownSeconds: 300 }

async function booted(over: Partial<typeof scaling> = {}): Promise<Lab> {
  const lab = new Lab({ cluster: { scaling: { ...scaling, ...over } } })
  await lab.boot()
  return lab
}

/** Whole seconds, for out and in. */
const left = (lab: Lab): readonly number[] =>
  (['scale_out', 'scale_in'] as const).map(way => Math.ceil(lab.scaling.cooldowns.leftMs('web', way) / 1_000))

t.test('each way holds itself, from its pivot on and over a restart', async t => {
  const lab = await booted()
  t.strictSame(left(lab), [0, 0], 'the minimum that was made at the start begins none')
  await lab.scaleTo(3)
  t.strictSame(left(lab), [60, 0])
  t.throws(() => lab.scaling.cooldowns.refuse('web', 'scale_out'), {
    code: 'cooling_down',
    message: /scaled out less than 60 s ago \(scaling.scale_out_cooldown_seconds\); ask again in 60 s/,
    details: {
      ...{ cluster_id: 'web', operation: 'scale_out' },
      ...{ remaining_seconds: 60, cooldown_seconds: 60 },
    },
  })
  lab.scaling.cooldowns.refuse('web', 'scale_in')
  await lab.time.pass(20_000)
  await lab.scaleTo(2)
  t.strictSame(left(lab), [40, 300])
  lab.kill()
  await lab.boot()
  await lab.time.pass(1_000)
  t.strictSame(left(lab), [39, 299])
  await lab.reconfigure({ scaling: { ...scaling, scaleInCooldownSeconds: 10 } })
  t.strictSame(left(lab), [39, 9], 'the policy of now counts')
  await lab.time.pass(40_000)
  t.strictSame(left(lab), [0, 0])
  await check(t, lab)
  await lab.close()
})

t.test('what was undone, a repair, a replacement and a resize begin none and are not held', async t => {
  const lab = await booted()
  lab.faults.driver = point => (point === 'clone:tagged' ? 'fail' : null)
  t.match(await lab.scaleTo(2), { status: 'failed' })
  t.strictSame(left(lab), [0, 0])
  lab.faults = {}
  await lab.scaleTo(3)
  await lab.time.pass(10_000)
  const [first, second] = lab.backends().map(({ id }) => id)
  for (const node of lab.nodes) node.kill(first!)
  await lab.time.until(lab.scaling.reconcile())
  await lab.time.until(lab.settle())
  t.equal(lab.scaling.count('web'), 3, 'made again within the cooldown')
  t.match(await lab.operate({ type: 'replace', instance_id: second! }), { status: 'completed' })
  const [one] = lab.backends()
  const resize = { type: 'resize', instance_id: one!.id, resources: { cpus: 2 } } as const
  t.match(await lab.operate(resize), { status: 'completed' })
  t.ok(left(lab)[0]! <= 50, 'nothing has begun it anew')
  await lab.time.pass(60_000)
  await lab.time.until(lab.scaling.reconcile())
  await check(t, lab)
  await lab.close()
})

t.test('from nothing and to nothing: no rest; 0 switches it off', async t => {
  const lab = await booted({ minInstances: 0 })
  await lab.scaleTo(1)
  t.strictSame(left(lab), [0, 0])
  await lab.scaleTo(0)
  t.strictSame(left(lab), [0, 0])
  await lab.scaleTo(1)
  await lab.reconfigure({ scaling: { ...scaling, scaleOutCooldownSeconds: 0 } })
  await lab.scaleTo(2)
  t.strictSame(left(lab), [0, 0])
  await lab.close()
})
