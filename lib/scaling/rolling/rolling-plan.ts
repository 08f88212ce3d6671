/** Whether a rolling replace can be begun, and in which batches: everything that can be known to fail is refused before it exists. */
import type { RollingWish } from '../../command.ts'
import { TidegateError } from '../../errors.ts'
import { policyBounds, policyView } from '../../policy.ts'
import { mustScale } from '../admission.ts'
import type { OperationRequest } from '../operation.ts'
import { findPlaces } from '../placement/rooms.ts'
import { goldenInputs } from '../readiness/golden.ts'
import type { World } from '../world.ts'
import { batchesOf, batchSizeOf, refused } from './rolling.ts'

/** Throws `unknown_cluster`, `not_scalable`, `unknown_instance`, `invalid_request`, `rollback_impossible`, `no_capacity`. */
export async function planRolling(
  world: World,
  cluster: string,
  wish: RollingWish,
): Promise<Extract<OperationRequest, { type: 'rolling_replace' }>> {
  const config = world.clusters.config(cluster)
  const { instance, scaling } = config
  mustScale(config)
  const policy = policyView(scaling)
  const { pause_seconds = policy.rolling_pause_seconds } = wish
  const { max_failure_ratio = policy.rolling_max_failure_ratio } = wish
  checkBetween('pause_seconds', pause_seconds, policyBounds.rolling_pause_seconds)
  checkBetween('max_failure_ratio', max_failure_ratio, policyBounds.rolling_max_failure_ratio)
  const members = world.members.of(cluster)
  if (members.length === 0)
    throw new TidegateError('unknown_instance', `cluster \`${cluster}\` has no instances to replace`, {
      details: { instances: [] },
    })
  const batch_size = batchSizeOf(wish.batch_size, members.length, policy.disruption_budget)
  const former = await formerOf(world, cluster)
  const batches = batchesOf(former, batch_size)
  const add = Math.max(...batches.map(ids => ids.length))
  await findPlaces(world, cluster, { add, sources: [], victims: [] })
  const templates = new Map(former.map(({ id, template }) => [id, template]))
  return {
    ...{ type: 'rolling_replace', batch_size, pause_seconds, max_failure_ratio, batches },
    former: batches.map(([first]) => templates.get(first!)!),
    template: await goldenInputs(instance!),
  }
}

function checkBetween(
  field: string,
  value: number,
  { min, max }: { readonly min: number; readonly max: number },
): void {
  if (value >= min && value <= max) return
  throw refused(field, `\`${value}\` is out of bounds`, `from ${min} to ${max}`)
}

/** What each instance was made from, which must be there still: a batch that fails may have to be made of it again. */
async function formerOf(world: World, cluster: string) {
  const former = []
  for (const { id } of world.members.of(cluster)) {
    const template = world.templates.versionOf(cluster, id)
    const kept = template === null ? null : world.templates.get(cluster, template)
    if (template === null || kept === null)
      throw impossible(id, 'it was made by a version of Tidegate that did not keep its template')
    if ((await goldenInputs(kept)) !== template)
      throw impossible(
        id,
        'files that its template names have changed since: give a new release files of its own',
      )
    former.push({ id, template })
  }
  return former
}

const impossible = (id: string, why: string) =>
  new TidegateError(
    'rollback_impossible',
    `instance ${id} could not be made again if a batch failed: ${why}; or replace all at once, which keeps the old ones until the new ones serve (\`replace --all\`)`,
    { details: { instance_id: id } },
  )
