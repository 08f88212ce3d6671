/** Nodes as people see them: what they hold, asked of their hypervisors now. */
import type { NodeConfig } from '../config/config.ts'
import { toTidegateError } from '../errors.ts'
import type { Driver } from '../hypervisor/driver.ts'
import type { NodeView } from '../views.ts'

export async function nodeView(config: NodeConfig, driver: Driver): Promise<NodeView> {
  const base = { node_id: config.id, driver: config.driver, zone: config.zone }
  try {
    const held = await driver.inspect()
    return {
      ...base,
      reachable: true,
      reason: null,
      instances: held.instances.map(({ name, owner, state, pid, residentBytes }) => ({
        id: name,
        cluster: owner.cluster,
        state,
        pid,
        resident_bytes: residentBytes,
      })),
      snapshots: held.snapshots.map(({ name, owner, bytes, complete }) => ({
        id: name,
        cluster: owner.cluster,
        bytes,
        complete,
      })),
    }
  } catch (error) {
    const { message } = toTidegateError(error, 'hypervisor_unreachable')
    return { ...base, reachable: false, reason: message, instances: [], snapshots: [] }
  }
}
