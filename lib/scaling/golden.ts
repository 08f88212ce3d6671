/** The golden snapshot of a cluster: one kept snapshot of a freshly booted instance, from which clones are made without touching a live one. */
import { createHash } from 'node:crypto'
import type { InstanceConfig } from '../config/config.ts'
import { type GoldenValue, goldenKey, type Source } from './facts.ts'
import type { World } from './world.ts'

/** Tells one template from another. A golden snapshot of another template is not used. */
export function templateDigest(instance: InstanceConfig): string {
  const { driver, port, resources, template } = instance
  return createHash('sha256')
    .update(JSON.stringify([driver, port, resources, template]))
    .digest('hex')
    .slice(0, 32)
}

/** What the store says; null when there is none, or it was made from another template than the configuration's. */
export async function goldenOf(world: World, cluster: string): Promise<GoldenValue | null> {
  const value = (await world.store.value(goldenKey(cluster))) as GoldenValue | null
  if (!value || !world.clusters.has(cluster)) return value
  const { instance } = world.clusters.config(cluster)
  return instance && value.template === templateDigest(instance) ? value : null
}

/** The golden snapshot as a source, if its node really holds it whole. */
export async function goldenSource(world: World, cluster: string): Promise<Source | null> {
  const golden = await goldenOf(world, cluster)
  if (!golden) return null
  const held = await world.reality.inspect(golden.node).catch(() => null)
  const whole = held?.snapshots.some(snapshot => snapshot.name === golden.snapshot && snapshot.complete)
  return whole ? { node: golden.node, instance: null, snapshot: golden.snapshot } : null
}
