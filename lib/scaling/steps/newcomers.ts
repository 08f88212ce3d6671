/**
 * Those who took the places of others in a replace, looked at again before these leave. A drain may go on for an hour; who was well when it began
 * may be dead at its end, and then whom it replaced is the one who serves: it stays, and takes new clients again.
 *
 *   old closed, new open ──── the new one dies, or is ill at the end ────► old open and stays, the new one leaves: the operation has failed
 *                       └─── it serves until the old one has left ───────► as it was asked
 */
import type { InstanceRecord } from '../../store/store.ts'
import { type AllocateData, doneData, type PlanData } from '../facts.ts'
import { servingIds } from '../membership-change.ts'
import type { StepContext } from '../step.ts'

/** Of a pair of which the new one does not serve: who stays and who leaves. */
export interface Failed {
  readonly old: string
  readonly newcomer: string
  readonly why: string
  /** Its node says what became of it, so that what is left of it can be removed. */
  readonly known: boolean
}

/** `thorough`: also who runs and is ill. */
export async function failedNewcomers(
  ctx: StepContext,
  thorough: boolean,
  signal: AbortSignal,
): Promise<readonly Failed[]> {
  const { world, journal } = ctx
  const { items } = doneData<AllocateData>(journal, 'allocate')
  const { victims } = doneData<PlanData>(journal, 'plan')
  const found = await Promise.all(
    victims.map(async ({ id }, index): Promise<Failed | null> => {
      const newcomer = items[index]?.name
      const old = world.members.get(id)
      if (newcomer === undefined || old === null) return null
      const record = world.members.get(newcomer)
      // Nodes are asked about everybody only once: in between the checks tell who is worth asking about.
      if (!thorough && record && seemsWell(ctx, newcomer)) return null
      const state = record ? await stateOf(ctx, record) : 'gone'
      const dead = state === 'gone' || state === 'stopped'
      const why = dead ? 'died' : thorough && record ? await illness(ctx, record, signal) : null
      if (why === null || !(await runs(ctx, old))) return null
      return { old: id, newcomer, why, known: state !== 'unknown' }
    }),
  )
  return found.filter(one => one !== null)
}

/** In words for a person. */
export const toldOf = (failed: readonly Failed[]): string =>
  failed
    .map(({ old, newcomer, why }) => `${newcomer} ${why} while ${old} was leaving for it: ${old} stays`)
    .join('; ')

function seemsWell({ world, cluster }: StepContext, id: string): boolean {
  return (
    servingIds(world, cluster).has(id) && world.clusters.backend(cluster, id).health.status !== 'unhealthy'
  )
}

async function stateOf({ world }: StepContext, { node, id }: InstanceRecord): Promise<string> {
  try {
    return (await world.reality.find(node, id))?.state ?? 'gone'
  } catch {
    return 'unknown'
  }
}

const runs = async (ctx: StepContext, record: InstanceRecord): Promise<boolean> =>
  (await stateOf(ctx, record)) === 'running' && servingIds(ctx.world, ctx.cluster).has(record.id)

/** By its checks so far, and by one of our own: the last of them may be an interval old. */
async function illness(ctx: StepContext, { id, address }: InstanceRecord, signal: AbortSignal) {
  const { world, cluster, config } = ctx
  if (!servingIds(world, cluster).has(id)) return null
  const { health } = world.clusters.backend(cluster, id)
  if (health.status !== 'unhealthy' || world.clusters.standing(cluster).panic) return null
  const answer = await world.probe(world.clusters.target(cluster, address), config.health, signal)
  return answer.ok ? null : `fell ill (${answer.reason})`
}
