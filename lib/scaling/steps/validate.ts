/** Is it still allowed? The configuration may have changed since it was asked for. */
import { TidegateError } from '../../errors.ts'
import { replacedBy } from '../operation.ts'
import { mustBeMember } from '../placement/protection.ts'
import { checkTarget } from '../sizing/capacity.ts'
import { type Step, shortMs } from '../step.ts'

export const validate: Step = {
  name: 'validate',
  timeoutMs: () => shortMs,
  async run(ctx) {
    const { request, instance, world } = ctx
    const instances = world.members.of(ctx.cluster).length
    checkTarget(world, ctx.cluster, request)
    if (request.type === 'replace') for (const id of replacedBy(request)) mustBeMember(world, ctx.cluster, id)
    if (request.type !== 'scale_in' && world.reality.nodesOf(instance.driver).length === 0)
      throw new TidegateError('no_capacity', `no node has driver ${instance.driver}; add one to \`nodes\``)
    return { data: { instances } }
  },
}
