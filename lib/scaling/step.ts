/**
 * A step: one unit of an operation, with its undo.
 *
 * `intend` says what is about to be made; that is journaled first. `run` does it. `revert` undoes whatever of it is there:
 * it may be called when the outcome is unknown, and twice, so it reads reality and not the journal's hopes. A step that
 * changes membership returns `writes`, which become one transaction with its `done`, and `publish`, which is called after it
 * and is repeated by the next step if it fails.
 */
import type { ClusterConfig, InstanceConfig } from '../config/config.ts'
import { TidegateError } from '../errors.ts'
import type { Owner } from '../hypervisor/driver.ts'
import type { JournalEntry, Json, OperationRecord, Write } from '../store/store.ts'
import type { OperationRequest } from './operation.ts'
import { templateFor } from './rolling/templates.ts'
import { ownerOf, type World } from './world.ts'

export interface Step {
  readonly name: string
  /** For all its tries before the pivot together, and for each one after it. */
  timeoutMs(ctx: StepContext): number
  /** Before the pivot: its first failure turns the operation back, whatever its phase has patience for (`patience.ts`). */
  readonly once?: true
  /** After the pivot: what it finds wrong does not mend by waiting. */
  readonly final?: boolean
  intend?(ctx: StepContext): Json
  run(ctx: StepContext, intent: Json, signal: AbortSignal): Promise<StepResult>
  /** Absent: the step leaves nothing behind. */
  revert?(ctx: StepContext, intent: Json, signal: AbortSignal): Promise<readonly Write[]>
  /** How long one undo may take. Default `limits.revertMs`. */
  revertMs?(ctx: StepContext): number
}

export interface StepResult {
  readonly data: Json
  readonly writes?: readonly Write[]
  publish?(): Promise<unknown>
}

export interface Recipe {
  readonly steps: readonly Step[]
  readonly pivot: string
  /** A restart does not turn it back: a step that was broken off is run again, and looks at what is there first. */
  readonly goesOn?: true
}

export class StepContext {
  readonly world: World
  readonly operation: OperationRecord
  /** The journal so far. */
  readonly journal: readonly JournalEntry[]

  constructor(world: World, operation: OperationRecord, journal: readonly JournalEntry[]) {
    this.world = world
    this.operation = operation
    this.journal = journal
  }

  get cluster(): string {
    return this.operation.cluster
  }

  get request(): OperationRequest {
    return { type: this.operation.type, ...(this.operation.request as object) } as OperationRequest
  }

  /** Throws `unknown_cluster` when it left the configuration since: undoing must do without. */
  get config(): ClusterConfig {
    return this.world.clusters.config(this.cluster)
  }

  /** What new ones are made from. */
  get instance(): InstanceConfig {
    const instance = templateFor(this.world, this.config, this.request)
    if (instance) return instance
    throw new TidegateError(
      'not_scalable',
      `cluster \`${this.cluster}\` has static backends only; give it an \`instance\` section to scale it`,
    )
  }

  get owner(): Owner {
    return ownerOf(this.world, this.cluster, this.operation.id)
  }
}

/** The bound of a step that only thinks. */
export const shortMs = 15_000
