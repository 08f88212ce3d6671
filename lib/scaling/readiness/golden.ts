/**
 * The golden snapshot of a cluster: one kept snapshot of an instance that was booted, warmed and never served anybody, from
 * which clones are made without touching a live one.
 *
 *   none ── a cold boot, saved before it serves ──► current ── an input changes, or it is unusable ──► superseded
 *    ▲                                                                                                     │
 *    └──────────────── collected, when no clone rests on it and no operation uses it ◄─────────────────────┘
 *
 * Its version is the hash of its inputs: the template, the size and time of every file that the template names, port, resources
 * and warm requests. It is never changed in place: what does not fit any more is another one.
 */
import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { ClusterConfig, InstanceConfig } from '../../config/config.ts'
import type { Held } from '../../hypervisor/driver.ts'
import { type GoldenValue, goldenKey, type Source } from '../facts.ts'
import { isGolden } from '../names.ts'
import type { OperationRequest } from '../operation.ts'
import type { World } from '../world.ts'

/** Texts of a template that are looked at as paths. */
const textsMax = 256

/** Names what a golden snapshot is made from; 32 hexadecimal digits. */
export async function goldenInputs(instance: InstanceConfig): Promise<string> {
  const { driver, port, resources, template, warmRequests } = instance
  const directory = typeof template.cwd === 'string' ? template.cwd : '.'
  const files = textsIn(template)
    .slice(0, textsMax)
    .map(async text => {
      const stats = await stat(resolve(directory, text)).catch(() => null)
      return stats?.isFile() ? [text, stats.size, stats.mtimeMs] : null
    })
  const seen = (await Promise.all(files)).filter(file => file !== null)
  return createHash('sha256')
    .update(JSON.stringify([driver, port, resources, template, warmRequests, seen]))
    .digest('hex')
    .slice(0, 32)
}

/** Also where live ones are cloned, once there is nobody: from nothing to one in a moment. */
export const keepsGolden = ({ instance, standby }: ClusterConfig): boolean =>
  instance !== null &&
  (instance.cloneFrom === 'golden' || standby.scaleToZero !== null || standby.warmPool !== null)

/** What the store says; null when there is none, it was made from other inputs than those of `of` (left out: those of now), or it is too old. */
export async function goldenOf(
  world: World,
  cluster: string,
  of?: InstanceConfig,
): Promise<GoldenValue | null> {
  const value = (await world.store.value(goldenKey(cluster))) as GoldenValue | null
  if (!value || !world.clusters.has(cluster)) return value
  const instance = of ?? world.clusters.config(cluster).instance
  const maxAgeMs = world.reality.configOf(value.node)?.snapshots?.maxAgeMs ?? Number.POSITIVE_INFINITY
  if (!instance || world.clock.now() - value.made_at_ms > maxAgeMs) return null
  return value.inputs === (await goldenInputs(instance)) ? value : null
}

/** The golden snapshot as a source, if its node really holds it whole. */
export async function goldenSource(
  world: World,
  cluster: string,
  of?: InstanceConfig,
): Promise<Source | null> {
  const golden = await goldenOf(world, cluster, of)
  return golden && wholeSource(world, golden)
}

/** Null: its node does not hold it, or not whole. */
export async function wholeSource(
  { reality }: World,
  { node, snapshot }: Pick<GoldenValue, 'node' | 'snapshot'>,
): Promise<Source | null> {
  const held = await reality.inspect(node).catch(() => null)
  const whole = held?.snapshots.some(({ name, complete }) => name === snapshot && complete)
  return whole ? { node, instance: null, snapshot } : null
}

/** What a request is to clone from where it clones from no live one: what it names, or what the cluster keeps. */
export async function goldenFor(
  world: World,
  config: ClusterConfig,
  instance: InstanceConfig,
  request: OperationRequest,
): Promise<Source | null> {
  if (request.type === 'replace' && request.golden !== undefined)
    return request.golden && wholeSource(world, request.golden)
  return keepsGolden(config) ? goldenSource(world, config.id, instance) : null
}

/** It cannot be used: the next cold boot is saved in its stead. Harmless when another one has taken its place. */
export async function forgetGolden(world: World, cluster: string, snapshot: string): Promise<void> {
  const value = (await world.store.value(goldenKey(cluster))) as GoldenValue | null
  if (value?.snapshot === snapshot)
    await world.store.write([{ put: 'value', key: goldenKey(cluster), value: null }])
}

/** Golden snapshots on whose files the memory of instances rests. The files of others are dropped when their operation is over. */
export function restedOn(held: ReadonlyMap<string, Held | null>): ReadonlySet<string> {
  const all = [...held.values()].flatMap(answer => answer?.instances ?? [])
  return new Set(all.flatMap(({ snapshot }) => (snapshot && isGolden(snapshot) ? snapshot : [])))
}

function textsIn(value: unknown): readonly string[] {
  if (typeof value === 'string') return [value]
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(textsIn) : []
}
