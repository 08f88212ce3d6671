/**
 * What can be asked of Tidegate, as data. @pure
 * The admin API, the CLI, schedules and the autoscaler all produce these; `control.ts` is the one place that carries them out.
 */
import type { DrainConfig, Resources } from './config/config.ts'
import type { PolicyView } from './policy.ts'

export type Command =
  | ScaleCommand
  | ScaleToCpusCommand
  | { readonly kind: 'replace'; readonly cluster: string; readonly instanceId: string }
  /** Every instance at once, by new ones of the template of now. */
  | { readonly kind: 'replace_all'; readonly cluster: string }
  /** Every instance, batch by batch, by new ones of the template of now; back to the former one where a batch does not do well. */
  | { readonly kind: 'replace_rolling'; readonly cluster: string; readonly wish: RollingWish }
  /** What is left out stays as it is. */
  | {
      readonly kind: 'resize'
      readonly cluster: string
      readonly instanceId: string
      readonly resources: Partial<Resources>
    }
  | { readonly kind: 'cancel_operation'; readonly operation: string }
  /** Ends a stuck operation as it stands. */
  | { readonly kind: 'acknowledge_operation'; readonly operation: string }
  | {
      readonly kind: 'drain_backend'
      readonly cluster: string
      readonly backend: string
      /** What is left out is taken from the cluster's own. */
      readonly policy: Partial<DrainConfig>
    }
  | { readonly kind: 'ready_backend'; readonly cluster: string; readonly backend: string }
  /** An instance: scale-in leaves it alone, or may take it again. */
  | {
      readonly kind: 'protect_backend'
      readonly cluster: string
      readonly backend: string
      readonly protected: boolean
    }
  | { readonly kind: 'maint_backend'; readonly cluster: string; readonly backend: string }
  | {
      readonly kind: 'register_backend'
      readonly cluster: string
      readonly backend: string
      readonly host: string
      readonly port: number
      readonly weight: number
      /** Where it is; absent: nobody said. */
      readonly zone?: string
    }
  | { readonly kind: 'deregister_backend'; readonly cluster: string; readonly backend: string }
  | { readonly kind: 'drain_node' | 'ready_node'; readonly node: string }
  /** What is left out stays as it is. */
  | { readonly kind: 'set_policy'; readonly cluster: string; readonly policy: Partial<PolicyView> }
  /** Back to the file's. */
  | { readonly kind: 'reset_policy'; readonly cluster: string }
  /** One that nobody uses. */
  | { readonly kind: 'remove_snapshot'; readonly snapshot: string }
  /** Reads the configuration file again. */
  | { readonly kind: 'reload' }

export interface ScaleCommand {
  readonly kind: 'scale'
  readonly cluster: string
  /** Null: whichever direction leads to the target. Given and contradicting the target: `invalid_request`. */
  readonly direction: 'scale_out' | 'scale_in' | null
  /** 1 … 100 and within the policy's bounds. */
  readonly targetCount: number
  /** Skips cooldowns and grace periods: clients of leaving instances are told at once. */
  readonly immediate: boolean
  /** False: leaving instances are cut without a drain. */
  readonly drainConnections: boolean
}

/** As much together, at least, whoever has it: how that is met is the policy's. */
export interface ScaleToCpusCommand {
  readonly kind: 'scale_to_cpus'
  readonly cluster: string
  /** It only leads upwards: `scale_in` is `invalid_request`. */
  readonly direction: 'scale_out' | 'scale_in' | null
  /** CPUs of all instances together, whole. */
  readonly targetCpus: number
  /** Skips the cooldown. */
  readonly immediate: boolean
}

/** What may be said of a rolling replace; what is left out comes from the cluster's policy. */
export interface RollingWish {
  /** How many instances at once: a number, or a share as `25%`. Left out: the disruption budget. */
  readonly batch_size?: number | string
  /** How long a batch serves before it is judged. */
  readonly pause_seconds?: number
  /** The share of its exchanges that may fail, 0 to 1. */
  readonly max_failure_ratio?: number
}

/** Who asks: `api`, `cli`, `schedule`, `autoscale`, or the subject of a token. */
export type Actor = string
