/**
 * The rest of a cluster: for so long after it was scaled out nobody scales it out again, and likewise in. It holds what is asked for, and
 * nothing that Tidegate does by itself: repairs, failovers, replacing, emptying nodes, waking up and falling asleep.
 *
 * It begins with the pivot, in the transaction in which the new membership is written: what was refused, undone or changed nothing
 * begins none, and a restart knows of it.
 */
import type { ScalingPolicy } from '../config/config.ts'
import { TidegateError } from '../errors.ts'
import type { Write } from '../store/store.ts'
import { doneData, type PlanData } from './facts.ts'
import { KeptValues } from './kept-values.ts'
import type { StepContext } from './step.ts'
import type { World } from './world.ts'

export type Direction = 'scale_out' | 'scale_in'

/** When a cluster was last scaled on purpose, by direction. */
export type Scaled = { readonly [direction in Direction]?: number }

export const scaledTimes = () => new KeptValues<Scaled>('scaled:')

export class Cooldowns {
  readonly #world: World

  constructor(world: World) {
    this.#world = world
  }

  /** Milliseconds; 0: it may be. Throws `unknown_cluster`. */
  leftMs(cluster: string, direction: Direction): number {
    const { clusters, clock, scaled } = this.#world
    const at = scaled.get(cluster)?.[direction]
    if (at === undefined) return 0
    const wholeMs = secondsOf(clusters.config(cluster).scaling, direction) * 1_000
    // A clock that was set back does not make it longer.
    return Math.min(wholeMs, Math.max(0, at + wholeMs - clock.now()))
  }

  /** Throws `cooling_down`. */
  refuse(cluster: string, direction: Direction): void {
    const leftMs = this.leftMs(cluster, direction)
    if (leftMs === 0) return
    const seconds = secondsOf(this.#world.clusters.config(cluster).scaling, direction)
    const remaining = Math.ceil(leftMs / 1_000)
    const done = direction === 'scale_out' ? 'out' : 'in'
    throw new TidegateError(
      'cooling_down',
      `cluster \`${cluster}\` was scaled ${done} less than ${seconds} s ago (scaling.${direction}_cooldown_seconds); ask again in ${remaining} s, or with \`immediate\``,
      {
        details: {
          cluster_id: cluster,
          operation: direction,
          remaining_seconds: remaining,
          cooldown_seconds: seconds,
        },
      },
    )
  }
}

/** What goes with the membership that an operation has come to. */
export function cooldownBy({ world, cluster, request, journal }: StepContext): readonly Write[] {
  if (request.type !== 'scale_out' && request.type !== 'scale_in') return []
  if ('target_count' in request && (request.repair || request.target_count === 0)) return []
  const { from } = doneData<PlanData>(journal, 'plan')
  if (from === 0) return []
  const before = world.scaled.get(cluster) ?? {}
  return [world.scaled.write(cluster, { ...before, [request.type]: world.clock.now() })]
}

const secondsOf = (
  { scaleOutCooldownSeconds, scaleInCooldownSeconds }: ScalingPolicy,
  direction: Direction,
): number => (direction === 'scale_out' ? scaleOutCooldownSeconds : scaleInCooldownSeconds)
