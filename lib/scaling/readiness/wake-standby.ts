/** Waking a clone that stands by. It has what nobody else has: one that cannot be asked is asked again for a while before it is given up. */
import { TidegateError } from '../../errors.ts'
import type { HeldInstance } from '../../hypervisor/driver.ts'
import type { Item } from '../facts.ts'
import { limits } from '../limits.ts'
import type { World } from '../world.ts'

/** Throws `instance_died` when it has ended, and after `limits.wakeMs` what kept it from waking. */
export async function wakeStandby(world: World, item: Item, signal: AbortSignal): Promise<HeldInstance> {
  const { clock, log } = world
  const untilMs = clock.monotonic() + limits.wakeMs
  let told = false
  for (;;) {
    try {
      const held = await woken(world, item)
      if (held) return held
      throw new TidegateError(
        'hypervisor_unreachable',
        `the clone ${item.name} that stands by cannot be asked`,
      )
    } catch (error) {
      const ended = error instanceof TidegateError && error.code === 'instance_died'
      if (ended || clock.monotonic() >= untilMs) throw error
      if (!told) log.warn({ instance: item.name, err: error }, 'a clone that stands by does not wake yet')
      told = true
    }
    await clock.sleep(limits.wakePollMs, signal)
  }
}

/** Null: nobody can say. */
async function woken({ reality }: World, { name, node, from }: Item): Promise<HeldInstance | null> {
  if ((await reality.find(node, name))?.state === 'paused') await reality.driver(node).resume(name)
  const held = await reality.find(node, name)
  if (held?.state === 'running') return held
  if (held !== null && held.state !== 'stopped') return null
  throw new TidegateError(
    'instance_died',
    `the clone ${name} that stood by for instance ${from?.instance_id} has ended`,
    { details: { instance_id: name } },
  )
}
