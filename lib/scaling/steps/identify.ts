/** Tells each new instance that it is itself and not its source, and waits until it has understood. The entropy is not journaled. */
import type { Identity } from '../../hypervisor/driver.ts'
import {
  type AllocateData,
  bootedNames,
  doneData,
  type IdentifyIntent,
  type Item,
  intentOf,
} from '../facts.ts'
import { introduce } from '../introduce.ts'
import { limits } from '../limits.ts'
import { isGolden } from '../names.ts'
import { parallel } from '../parallel.ts'
import { lineageOf } from '../recovery/lineage.ts'
import type { Step } from '../step.ts'
import type { World } from '../world.ts'

const entropyBytes = 64
const incarnationBytes = 16

export const identify: Step = {
  name: 'identify',
  timeoutMs({ journal }) {
    const { items } = doneData<AllocateData>(journal, 'allocate')
    const booted = bootedNames(journal)
    // A cold boot resolves before its application answers: the identity is what waits for it.
    const each = booted.size > 0 ? limits.createMs : limits.identifyMs
    return each * Math.max(1, Math.ceil(items.length / limits.parallelMax))
  },
  intend({ world, journal }): IdentifyIntent {
    const { items } = doneData<AllocateData>(journal, 'allocate')
    // Tried again it is the same life: what was said the first time may arrive after the second.
    const before = intentOf<IdentifyIntent>(journal, 'identify')
    if (before) return before
    const incarnation = () => Buffer.from(world.random(incarnationBytes)).toString('base64url')
    return { items: items.map(({ name }) => ({ name, incarnation: incarnation() })) }
  },
  async run({ world, cluster, journal }, intent, signal) {
    const incarnations = new Map(
      (intent as IdentifyIntent).items.map(({ name, incarnation }) => [name, incarnation]),
    )
    const { items } = doneData<AllocateData>(journal, 'allocate')
    const booted = bootedNames(journal)
    const sources = await sourcesOf(world, items)
    const acknowledged = await parallel(
      items,
      limits.parallelMax,
      signal,
      async ({ name, node, snapshot, from }, signal) => {
        const known = from && { instanceId: from.instance_id, atMs: from.at_ms }
        const saved = known ?? (snapshot === null ? undefined : sources.get(snapshot))
        const source = booted.has(name) ? null : (saved ?? null)
        const incarnation = incarnations.get(name)!
        const identity: Identity = {
          instanceId: name,
          incarnation,
          cluster,
          reason: booted.has(name) ? 'created' : 'cloned',
          entropy: Buffer.from(world.random(entropyBytes)).toString('base64'),
          wallClockMs: world.clock.now(),
          ...(source ? { clonedFrom: source } : {}),
        }
        const ack = await introduce(world, node, identity, signal)
        const lineage = source ? lineageOf(world, source, isGolden(snapshot!)) : []
        return { name, incarnation, application: ack.application, lineage }
      },
    )
    return { data: { items: acknowledged } }
  },
}

/** Of each snapshot: what it was taken of, and when. Left out where nobody can say any more: nothing waits for that. */
async function sourcesOf({ reality }: World, items: readonly Item[]) {
  const nodes = new Set(items.filter(({ snapshot }) => snapshot !== null).map(({ node }) => node))
  const held = await Promise.all([...nodes].map(node => reality.inspect(node).catch(() => null)))
  const snapshots = held.flatMap(answer => answer?.snapshots ?? [])
  return new Map(
    snapshots.map(
      ({ name, source, createdAtMs }) => [name, { instanceId: source, atMs: createdAtMs }] as const,
    ),
  )
}
