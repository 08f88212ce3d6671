/** Makes the new instances, a few at a time: clones where there is a snapshot for them, cold boots where there is none. */

import { TidegateError } from '../../errors.ts'
import type { HeldInstance } from '../../hypervisor/driver.ts'
import { type AllocateData, type Claim, doneData, type Item } from '../facts.ts'
import { limits } from '../limits.ts'
import { parallel } from '../parallel.ts'
import type { Step, StepContext } from '../step.ts'
import { destroyAll } from '../teardown.ts'

export const clone: Step = {
  name: 'clone',
  timeoutMs({ journal }) {
    const { items } = doneData<AllocateData>(journal, 'allocate')
    const each = items.some(item => item.snapshot === null) ? limits.createMs : limits.cloneMs
    return each * Math.max(1, Math.ceil(items.length / limits.parallelMax))
  },
  intend({ journal }): Claim {
    return { names: doneData<AllocateData>(journal, 'allocate').items.map(item => item.name) }
  },
  async run(ctx, _intent, signal) {
    const { items } = doneData<AllocateData>(ctx.journal, 'allocate')
    const instances = await parallel(items, limits.parallelMax, signal, async (item, signal) => {
      const startedAt = ctx.world.clock.monotonic()
      const { name, address, residentBytes } = await make(ctx, item, signal)
      if (!address)
        throw new TidegateError('hypervisor_failed', `instance ${name} came up without an address`)
      const tookMs = Math.round(ctx.world.clock.monotonic() - startedAt)
      const { host, port } = address
      return {
        name,
        node: item.node,
        address: { host, port },
        resident_bytes: residentBytes,
        took_ms: tookMs,
      }
    })
    return { data: { instances } }
  },
  async revert({ world, journal }) {
    await destroyAll(world, doneData<AllocateData>(journal, 'allocate').items)
    return []
  },
}

function make(ctx: StepContext, item: Item, signal: AbortSignal): Promise<HeldInstance> {
  const { port, resources, template } = ctx.instance
  const driver = ctx.world.reality.driver(item.node)
  const spec = { name: item.name, owner: ctx.owner, port, resources, template }
  return item.snapshot === null
    ? driver.create(spec, signal)
    : driver.clone({ ...spec, snapshot: item.snapshot }, signal)
}
