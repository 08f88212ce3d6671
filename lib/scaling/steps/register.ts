/** The new instances become members, all in one generation. The store learns it in the same transaction as the journal. */
import type { InstanceRecord } from '../../store/store.ts'
import {
  type AllocateData,
  bootedNames,
  doneData,
  type IdentifyIntent,
  type MadeData,
  type PlanData,
} from '../facts.ts'
import { ensureRegistered } from '../membership-change.ts'
import { type Step, type StepContext, shortMs } from '../step.ts'

export const register: Step = {
  name: 'register',
  timeoutMs: () => shortMs,
  async run(ctx) {
    const records = newRecords(ctx)
    return {
      data: { instances: records.map(({ id, incarnation }) => ({ id, incarnation })) },
      writes: records.map(record => ({ put: 'instance', record })),
      publish: () => ensureRegistered(ctx.world, ctx.cluster, records),
    }
  },
}

function newRecords({ world, cluster, operation, journal }: StepContext): readonly InstanceRecord[] {
  const { items } = doneData<AllocateData>(journal, 'allocate')
  const made = new Map(doneData<MadeData>(journal, 'clone').instances.map(one => [one.name, one]))
  const identified = doneData<IdentifyIntent>(journal, 'identify').items
  const incarnations = new Map(identified.map(one => [one.name, one.incarnation]))
  const booted = bootedNames(journal)
  const { victims } = doneData<PlanData>(journal, 'plan')
  return items.map(({ name, node }, index) => ({
    id: name,
    cluster,
    node,
    incarnation: incarnations.get(name)!,
    address: made.get(name)!.address,
    operation: operation.id,
    origin: booted.has(name) ? 'created' : 'cloned',
    createdAtMs: world.clock.now(),
    // Who takes a protected one's place is protected.
    ...(world.members.get(victims[index]?.id ?? '')?.protected ? { protected: true as const } : {}),
  }))
}
