/**
 * Who acknowledges must be the one that was asked, in the life that it was given: a guest that still believes it is its source, or
 * an answer left over from an earlier life, is never put into rotation.
 */
import t, { type Test } from 'tap'
import type { IdentityAck } from '../../../lib/hypervisor/driver.ts'
import { faultsOf } from '../../support/scaling-check.ts'
import { Lab } from '../../support/scaling-lab.ts'

/** What is answered instead of `own`. */
type Wrong = (own: IdentityAck, source: string, sibling: string) => IdentityAck

const wrong: Readonly<Record<string, Wrong>> = {
  'the name of its source': (own, source) => ({ ...own, instanceId: source }),
  'the name of its sibling': (own, _, sibling) => ({ ...own, instanceId: sibling }),
  'another life': own => ({ ...own, incarnation: 'A'.repeat(own.incarnation.length) }),
  'its own life in other letters': own => ({ ...own, incarnation: own.incarnation.toLowerCase() }),
  'no life at all': own => ({ ...own, incarnation: '' }),
}

/** A cluster of one is to grow by two; the second of them answers wrongly. */
async function grow(t: Test, answer: Wrong) {
  const lab = new Lab()
  t.teardown(() => lab.close())
  await lab.boot()
  const source = lab.backends()[0]!.id
  const named = new Set<string>()
  lab.watch.onTable = table => {
    for (const { members } of table.clusters) for (const { id } of members) named.add(id)
  }
  const told: string[] = []
  for (const node of lab.nodes) {
    node.onIdentity = (name, { incarnation }) => {
      told.push(name)
      const own: IdentityAck = { instanceId: name, incarnation, application: 'acknowledged' }
      return name.endsWith('-2') ? answer(own, source, name.replace(/2$/, '1')) : own
    }
  }
  return { lab, source, named, told, operation: await lab.scaleTo(3) }
}

for (const [what, answer] of Object.entries(wrong)) {
  t.test(`acknowledged with ${what}: nobody of the operation serves`, async t => {
    const { lab, source, named, told, operation } = await grow(t, answer)
    t.match(operation, { status: 'failed', error: { code: 'identity_refused' } })
    t.equal(new Set(told).size, 2, 'both were told')
    t.notOk(
      [...named].some(name => name !== source),
      'no table ever named one of them',
    )
    t.strictSame([...lab.nodes[0]!.instances.keys()], [source], 'they are gone')
    t.strictSame(await faultsOf(lab), [])
  })
}

t.test('what would only stand by is not kept either', async t => {
  const { instance, scaling } = new Lab().config
  const never = Number.POSITIVE_INFINITY
  const wait = { idleAfterMs: never, maxWaiting: 1, waitTimeoutMs: 1_000, afterFailure: true } as const
  const clones = { count: 1, refresh: '* * * * *', wait } as const
  const warmPool = { size: 1, state: 'paused' } as const
  const kinds = {
    'a standby clone': { standby: { scaleToZero: null, warmPool: null, clones } },
    'a golden snapshot': {
      instance: { ...instance!, cloneFrom: 'golden' as const },
      scaling: { ...scaling, minInstances: 0 },
      standby: { scaleToZero: null, warmPool },
    },
  }
  for (const [what, cluster] of Object.entries(kinds)) {
    const lab = new Lab({ cluster })
    await lab.boot()
    const node = lab.nodes[0]!
    const before = [...node.instances.keys()]
    const told: string[] = []
    node.onIdentity = (name, { incarnation }) => {
      told.push(name)
      return { instanceId: 'somebody', incarnation, application: 'acknowledged' }
    }
    await lab.time.until(lab.scaling.readiness.keepReady())
    t.equal(told.length, 1, what)
    t.strictSame([...node.instances.keys()], before, `${what}: it is gone`)
    t.equal(node.snapshots.size, 0, `${what}: nothing was saved of it`)
    await lab.close()
  }
})
