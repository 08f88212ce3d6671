/** Whether a cluster's instances can grow as its policy says: that depends on what they are made from. @pure */
import { resizeFirstFaults } from '../policy.ts'
import type { ShapeFault } from '../schema.ts'
import { parseSize } from '../units.ts'
import { type DriverKind, driverKinds } from './config.ts'
import { instanceDefaults } from './instance-schema.ts'
import { fault, type Group, isGroup, type Path } from './plain-values.ts'

export function resizeFirstRules(cluster: Group, path: Path): readonly ShapeFault[] {
  const scaling = isGroup(cluster.scaling) ? cluster.scaling : {}
  const { resize_first_cpus: cpus = 0, resize_first_memory_mib: memory = 0 } = scaling
  if (typeof cpus !== 'number' || typeof memory !== 'number') return []
  const instance = isGroup(cluster.instance) ? cluster.instance : null
  const made = instance && madeFrom(instance)
  // What is wrong with it is told by the schema.
  if (instance && !made) return []
  const policy = { resize_first_cpus: cpus, resize_first_memory_mib: memory }
  return resizeFirstFaults(policy, made).map(({ field, message, fix }) =>
    fault([...path, 'scaling', field], message, fix),
  )
}

function madeFrom({ driver, resources = {} }: Group) {
  if (!driverKinds.includes(driver as DriverKind) || !isGroup(resources)) return null
  const { cpus = instanceDefaults.cpus, memory = instanceDefaults.memory } = resources
  const parsed = parseSize(memory)
  if (typeof cpus !== 'number' || !parsed.ok) return null
  return { driver: driver as DriverKind, resources: { cpus, memoryBytes: parsed.value } }
}
