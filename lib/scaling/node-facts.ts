/** A node as scaling sees it: what is free, what was promised, what it carries, and whether it takes new instances. */
import type { NodeConfig, Resources } from '../config/config.ts'
import type { Held } from '../hypervisor/driver.ts'
import type { NodeDrains, NodeDrainView } from './node-drains.ts'
import { freeOf, loadOn } from './rooms.ts'
import type { World } from './world.ts'

export type NodeState = 'ready' | 'draining' | 'drained' | 'unreachable'

export interface NodeFacts {
  readonly state: NodeState
  /** Null: nobody could be asked. */
  readonly free: Resources | null
  readonly promised: Resources
  /** Exchanges and tunnels on it. */
  readonly load: number
  readonly drain: NodeDrainView | null
}

export function nodeFacts(
  world: World,
  drains: NodeDrains,
  config: NodeConfig,
  held: Held | null,
): NodeFacts {
  const drain = drains.view(config.id)
  const marked =
    drain === null ? 'ready' : drain.drained_at !== null && drain.left === 0 ? 'drained' : 'draining'
  const promised = world.promises.on(config.id).reduce(
    (sum, { resources }) => ({
      cpus: sum.cpus + resources.cpus,
      memoryBytes: sum.memoryBytes + resources.memoryBytes,
      diskBytes: sum.diskBytes + resources.diskBytes,
    }),
    { cpus: 0, memoryBytes: 0, diskBytes: 0 },
  )
  return {
    state: held === null ? 'unreachable' : marked,
    free: held === null ? null : freeOf(world, config, held),
    promised,
    load: loadOn(world, config.id),
    drain,
  }
}
