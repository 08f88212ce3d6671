/** The new instances become members, all in one generation. The store learns it in the same transaction as the journal. */
import { isDeepStrictEqual } from 'node:util'
import type { InstanceRecord, Write } from '../../store/store.ts'
import { cooldownBy } from '../cooldown.ts'
import {
  type AllocateData,
  bootedNames,
  doneData,
  type IdentifyIntent,
  type MadeData,
  type PlanData,
} from '../facts.ts'
import { ensureRegistered } from '../membership-change.ts'
import { goldenInputs } from '../readiness/golden.ts'
import { wantedBy } from '../recovery/wanted.ts'
import { type Step, type StepContext, shortMs } from '../step.ts'

export const register: Step = {
  name: 'register',
  timeoutMs: () => shortMs,
  async run(ctx) {
    const records = newRecords(ctx)
    const members = records.map((record): Write => ({ put: 'instance', record }))
    return {
      data: { instances: records.map(({ id, incarnation }) => ({ id, incarnation })) },
      writes: [...members, ...(await templatesKept(ctx)), ...wantedBy(ctx), ...cooldownBy(ctx)],
      publish: () => ensureRegistered(ctx.world, ctx.cluster, records),
    }
  },
}

function newRecords(ctx: StepContext): readonly InstanceRecord[] {
  const { world, cluster, operation, journal } = ctx
  const { resources } = ctx.instance
  // Of a template that was kept: rooms count what it has, and not what the configuration says.
  const sized = !isDeepStrictEqual(resources, ctx.config.instance?.resources)
  const { items } = doneData<AllocateData>(journal, 'allocate')
  const made = new Map(doneData<MadeData>(journal, 'clone').instances.map(one => [one.name, one]))
  const identified = doneData<IdentifyIntent>(journal, 'identify').items
  const identities = new Map(identified.map(one => [one.name, one]))
  const booted = bootedNames(journal)
  const { victims } = doneData<PlanData>(journal, 'plan')
  return items.map(({ name, node, resources: own }, index) => ({
    id: name,
    cluster,
    node,
    incarnation: identities.get(name)!.incarnation,
    address: made.get(name)!.address,
    operation: operation.id,
    origin: booted.has(name) ? 'created' : 'cloned',
    createdAtMs: world.clock.now(),
    ...(identities.get(name)!.lineage?.length ? { lineage: identities.get(name)!.lineage! } : {}),
    ...(own ? { resources: own } : sized ? { resources } : {}),
    // Who takes a protected one's place is protected.
    ...(world.members.get(victims[index]?.id ?? '')?.protected ? { protected: true as const } : {}),
  }))
}

/**
 * What they were made from: a clone of a live one is of its source's template, anything else of the configuration's. Where that
 * changed in the middle of the operation nobody can say, and nothing is kept.
 */
async function templatesKept({ world, cluster, instance, journal }: StepContext): Promise<readonly Write[]> {
  const { items, snapshots } = doneData<AllocateData>(journal, 'allocate')
  const planned = doneData<PlanData>(journal, 'plan').version
  const now = planned !== undefined && (await goldenInputs(instance)) === planned ? planned : null
  const made = items.flatMap(({ name, snapshot, from }) => {
    const source = from?.instance_id ?? snapshots.find(saved => saved.name === snapshot)?.source ?? null
    const version = source === null ? now : world.templates.versionOf(cluster, source)
    if (version === null) return []
    const template = source === null ? instance : world.templates.get(cluster, version)
    return template === null ? [] : [{ id: name, version, template }]
  })
  if (made.length === 0) return []
  const members = world.members.of(cluster).map(({ id }) => id)
  return [world.templates.keep(cluster, made, members)]
}
