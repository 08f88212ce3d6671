/** Taking down what an operation made or removes. Reads reality first, so that it may be called when nothing is known, and twice. */
import { limits } from './limits.ts'
import { parallel } from './parallel.ts'
import type { World } from './world.ts'

export interface Named {
  readonly name: string
  readonly node: string
}

/** Destroys instances and snapshots that are held and carry our tag. Throws the first failure after all were tried. */
export async function destroyAll(world: World, items: readonly Named[]): Promise<readonly string[]> {
  const destroyed: string[] = []
  const failures: unknown[] = []
  await parallel(items, limits.parallelMax, new AbortController().signal, async ({ name, node }) => {
    try {
      if (await isOurs(world, node, name)) {
        await world.reality.driver(node).destroy(name)
        destroyed.push(name)
      }
    } catch (error) {
      failures.push(error)
    }
  })
  if (failures.length > 0) throw failures[0]
  return destroyed
}

async function isOurs(world: World, node: string, name: string): Promise<boolean> {
  const held = await world.reality.inspect(node)
  const found = [...held.instances, ...held.snapshots].find(resource => resource.name === name)
  return found?.owner.installation === world.installation
}
