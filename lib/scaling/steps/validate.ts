/** Is it still allowed? The configuration may have changed since it was asked for. */
import { TidegateError } from '../../errors.ts'
import { checkBounds } from '../plan.ts'
import { type Step, shortMs } from '../step.ts'

export const validate: Step = {
  name: 'validate',
  timeoutMs: () => shortMs,
  async run(ctx) {
    const { request, instance, config, world } = ctx
    const instances = world.members.of(ctx.cluster).length
    if (request.type !== 'replace')
      checkBounds(request.target_count, { cluster: ctx.cluster, policy: config.scaling })
    else if (world.members.get(request.instance_id)?.cluster !== ctx.cluster)
      throw new TidegateError(
        'unknown_instance',
        `cluster \`${ctx.cluster}\` has no instance \`${request.instance_id}\``,
      )
    if (request.type !== 'scale_in' && world.reality.nodesOf(instance.driver).length === 0)
      throw new TidegateError('no_capacity', `no node has driver ${instance.driver}; add one to \`nodes\``)
    return { data: { instances } }
  },
}
