/** Everything that `/metrics` tells of scaling, as it is at one moment. @pure */
import type { Orphan } from './recovery/orphans.ts'
import type { Durations, Tallied } from './tally.ts'

export interface ScalingNumbers {
  readonly operations: readonly Tallied<number>[]
  readonly durations: readonly Tallied<Durations>[]
  readonly phases: readonly Tallied<Durations>[]
  readonly retries: readonly Tallied<number>[]
  readonly rollbacks: readonly Tallied<number>[]
  readonly stucks: readonly Tallied<number>[]
  readonly orphansDestroyed: readonly Tallied<number>[]
  readonly clusters: readonly {
    readonly cluster: string
    readonly running: number
    readonly stuck: number
    readonly repairs: number
  }[]
  /** `kept`: it is not destroyed as long as something else does not change. */
  readonly orphans: readonly (Pick<Orphan, 'node' | 'kind'> & { readonly kept: boolean })[]
  /** `unknownMs` null: it answered when it was last asked. */
  readonly nodes: readonly { readonly node: string; readonly unknownMs: number | null }[]
  /** Null: there was no round yet. */
  readonly reconcile: { readonly ageMs: number; readonly tookMs: number } | null
  /** Null: the store was not asked yet. */
  readonly flaws: number | null
}
