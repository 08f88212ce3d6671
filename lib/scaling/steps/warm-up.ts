/**
 * The new instances serve, as seen from here: in the table, and answering. What died since it was verified fails the step.
 * Where nobody leaves for them they stay whatever it finds, for reconcile to see to. Of a replace it is the point of no return: until here the
 * old ones only take no new clients, so new ones that are ill go again and the old ones are opened.
 */
import { TidegateError, toTidegateError } from '../../errors.ts'
import type { InstanceRecord } from '../../store/store.ts'
import { type AllocateData, doneData } from '../facts.ts'
import { ensureRegistered } from '../membership-change.ts'
import { replacedBy } from '../operation.ts'
import { parallel } from '../parallel.ts'
import { type Step, type StepContext, shortMs } from '../step.ts'
import { switched } from './switch-over.ts'
import { untilHealthy } from './verify.ts'

export const warmUp: Step = {
  name: 'warm_up',
  timeoutMs: () => shortMs,
  // A new instance that is dead does not come back by asking again.
  final: true,
  async run(ctx, _intent, signal) {
    const { world, cluster, config } = ctx
    const records = newMembers(ctx)
    await ensureRegistered(world, cluster, records)
    for (const record of records) {
      const target = world.clusters.target(cluster, record.address)
      const verdict = await world.probe(target, config.health, signal)
      if (!verdict.ok)
        throw new TidegateError(
          'instance_unhealthy',
          `instance ${record.id} stopped answering: ${verdict.reason}`,
          {
            details: { instance_id: record.id },
          },
        )
    }
    return { data: { ready: records.map(record => record.id) } }
  },
}

/** Each as often in a row as its cluster's health demands: one bad answer is not yet a reason to take all of them back. */
export const warmUpOrBack: Step = {
  name: warmUp.name,
  timeoutMs: () => shortMs,
  async run(ctx, _intent, signal) {
    try {
      const records = newMembers(ctx)
      await switched(ctx)
      await parallel(records, records.length, signal, ({ id, node, address }, signal) =>
        untilHealthy(ctx, { name: id, node, address }, signal),
      )
      return { data: { ready: records.map(record => record.id) } }
    } catch (error) {
      throw notBetter(ctx, error)
    }
  },
}

function newMembers({ world, journal }: StepContext): readonly InstanceRecord[] {
  const { items } = doneData<AllocateData>(journal, 'allocate')
  const records = items.map(item => world.members.get(item.name)).filter(record => record !== null)
  if (records.length < items.length)
    throw new TidegateError('instance_died', 'a new instance was gone before it could serve')
  return records
}

function notBetter({ request }: StepContext, error: unknown): unknown {
  const { code, message, details } = toTidegateError(error)
  if (code !== 'instance_unhealthy' && code !== 'instance_died') return error
  const old = replacedBy(request as Parameters<typeof replacedBy>[0]).join(', ')
  return new TidegateError(
    code,
    `${message}, once it was in the table: what was made goes again and ${old} stays`,
    {
      details,
      cause: error,
    },
  )
}
