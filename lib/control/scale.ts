/** Asking for more or fewer: so many instances, or so many CPUs. What is there already, and who just settled for it, is said here. */
import type { Clusters } from '../cluster/clusters.ts'
import type { Actor, ScaleCommand, ScaleToCpusCommand } from '../command.ts'
import { TidegateError } from '../errors.ts'
import type { OperationView } from '../scaling/operation.ts'
import type { Scaling } from '../scaling/scaling.ts'
import type { Audit } from './audit.ts'

export interface ScaleDeps {
  readonly clusters: Clusters
  readonly scaling: Scaling
  readonly audit: Audit
}

/** The operation that has begun, or why there is nothing to be done. */
export type Scaled = { readonly operation: OperationView } | { readonly unchanged: string }

export async function scaleTo(deps: ScaleDeps, command: ScaleCommand, actor: Actor): Promise<Scaled> {
  const { clusters, scaling } = deps
  const { cluster, targetCount, immediate, drainConnections } = command
  mustHaveInstances(clusters, cluster)
  const now = scaling.count(cluster)
  const running = scaling.running(cluster)
  if (targetCount === now && running === null) {
    await settleFor(deps, cluster, now, actor)
    return { unchanged: `Already at ${now} instances.` }
  }
  const type = targetCount > now ? 'scale_out' : 'scale_in'
  if (running === null && command.direction !== null && command.direction !== type) {
    throw new TidegateError(
      'invalid_request',
      `operation \`${command.direction}\` cannot lead from ${now} to target_count ${targetCount}; leave \`operation\` out or correct the target.`,
      { details: { instances: now, target_count: targetCount } },
    )
  }
  if (!immediate && running === null) scaling.cooldowns.refuse(cluster, type)
  const asked = { target_count: targetCount, immediate, drain_connections: drainConnections }
  return { operation: await scaling.start(cluster, { type, ...asked }, actor) }
}

export async function scaleToCpus(
  { clusters, scaling }: ScaleDeps,
  { cluster, direction, targetCpus, immediate }: ScaleToCpusCommand,
  actor: Actor,
): Promise<Scaled> {
  mustHaveInstances(clusters, cluster)
  if (direction === 'scale_in')
    throw new TidegateError(
      'invalid_request',
      '`target_cpus` only leads upwards: what an instance was given is not taken from it by a count; ask for fewer instances with `target_count`.',
      { details: { operation: direction, target_cpus: targetCpus } },
    )
  const running = scaling.running(cluster)
  const [cpus, count] = [scaling.cpus(cluster), scaling.count(cluster)]
  if (cpus >= targetCpus && running === null)
    return { unchanged: `Already at ${cpus} CPUs (${count} instances).` }
  if (!immediate && running === null) scaling.cooldowns.refuse(cluster, 'scale_out')
  const request = { type: 'scale_out', target_cpus: targetCpus } as const
  return { operation: await scaling.start(cluster, request, actor) }
}

function mustHaveInstances(clusters: Clusters, cluster: string): void {
  if (clusters.config(cluster).instance) return
  throw new TidegateError(
    'not_scalable',
    `Cluster \`${cluster}\` has static backends only; give it an \`instance\` section to scale it.`,
  )
}

/** So many are there, and somebody has just said that they are enough: nobody is made for those who died. */
async function settleFor({ scaling, audit }: ScaleDeps, cluster: string, count: number, actor: Actor) {
  const from = scaling.repairs.wanted(cluster)
  const reason = `Settled for ${count} instances where ${from} were wanted`
  const line = audit.line(actor, { cluster, action: 'scale', from, to: count, reason })
  if (from !== count) await scaling.repairs.settleFor(cluster, count, line)
}
