/**
 * Making instances loads their node: pages are copied, code is translated, applications wake up. That the others there answer
 * late meanwhile is our doing and not their illness, and it must not cost their clients their sessions.
 */
import { type AllocateData, doneData } from '../facts.ts'
import type { Step, StepContext } from '../step.ts'

/** The step, run without blame. */
export function straining(step: Step): Step {
  return { ...step, run: (ctx, intent, signal) => withoutBlame(ctx, () => step.run(ctx, intent, signal)) }
}

/** Runs `act`; until it ends, the silence of the instances on the operation's nodes does not count against them. */
async function withoutBlame<T>(ctx: StepContext, act: () => Promise<T>): Promise<T> {
  const { world, journal, operation } = ctx
  const nodes = new Set(doneData<AllocateData>(journal, 'allocate').items.map(item => item.node))
  const neighbours = world.members.all().filter(record => nodes.has(record.node))
  const hold = (held: boolean) => {
    for (const { cluster, id } of neighbours)
      if (world.clusters.has(cluster, id)) world.clusters.holdHealth(cluster, id, held, operation.id)
  }
  hold(true)
  try {
    return await act()
  } finally {
    hold(false)
  }
}
