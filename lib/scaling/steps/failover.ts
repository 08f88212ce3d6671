/**
 * What a failover does otherwise than a scale-out: nobody is made. The freshest clone that stands by for each of the dead takes its place,
 * in one generation with the removal of the dead. It leaves the pool in the transaction that makes it a member and not before, so
 * that an undo, or a crash, finds it where it was.
 */
import { TidegateError } from '../../errors.ts'
import type { Write } from '../../store/store.ts'
import { type AllocateData, doneData, type Item, type PlanData } from '../facts.ts'
import { ensureReplaced } from '../membership-change.ts'
import { type OperationRequest, replacedBy } from '../operation.ts'
import { mustBeMember } from '../placement/protection.ts'
import { removalOf } from '../recovery/losses.ts'
import { type Step, type StepContext, shortMs } from '../step.ts'
import { clone } from './clone.ts'
import { register } from './register.ts'

const deadOf = ({ request }: StepContext): readonly string[] =>
  replacedBy(request as Extract<OperationRequest, { type: 'failover' }>)

export const planFailover: Step = {
  name: 'plan',
  timeoutMs: () => shortMs,
  async run(ctx) {
    const { world, cluster } = ctx
    const victims = deadOf(ctx).map(id => {
      const { node } = mustBeMember(world, cluster, id)
      return { id, node }
    })
    const from = world.members.of(cluster).length
    const reason = 'a clone stands by for each of the dead'
    return { data: { from, to: from, add: victims.length, mode: 'standby', sources: [], victims, reason } }
  },
}

export const allocateStandby: Step = {
  name: 'allocate',
  timeoutMs: () => shortMs,
  async run({ world, cluster, journal }) {
    const { victims } = doneData<PlanData>(journal, 'plan')
    const items = victims.map(({ id }): Item => {
      const standby = world.pools.standbyOf(cluster, id)
      if (standby === null)
        throw new TidegateError('no_clone_source', `no clone stands by for instance ${id}`)
      const { name, node, snapshot, as_of_ms: atMs = 0, resources } = standby
      const from = { instance_id: id, at_ms: atMs }
      return { name, node, snapshot, pooled: true, from, ...(resources ? { resources } : {}) }
    })
    return { data: { items, snapshots: [], names: items.map(({ name }) => name) } }
  },
}

/** Wakes them; to undo there is nothing: who was woken stands by all the same. Where one does not wake the next one is sooner. */
export const wakeStandby: Step = {
  name: 'clone',
  once: true,
  timeoutMs: ctx => clone.timeoutMs(ctx),
  run: (ctx, intent, signal) => clone.run(ctx, intent, signal),
}

export const registerStandby: Step = {
  name: register.name,
  timeoutMs: () => shortMs,
  async run(ctx) {
    const { world, cluster, journal } = ctx
    const result = await register.run(ctx, {}, new AbortController().signal)
    const names = doneData<AllocateData>(journal, 'allocate').items.map(({ name }) => name)
    const dead = doneData<PlanData>(journal, 'plan').victims.map(({ id }) => id)
    const writes: readonly Write[] = [
      ...(result.writes ?? []),
      ...removalOf(world, cluster, dead),
      world.pools.without(cluster, names),
    ]
    const publish = () => {
      world.pools.forget(cluster, names)
      return ensureReplaced(world, cluster, names, dead)
    }
    return { data: result.data, writes, publish }
  },
}
