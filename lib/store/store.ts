/**
 * The store keeps what must survive: the journal of operations, the instances and backends that serve, marks, secrets, history.
 *
 * `write` is the only way in and is atomic: a batch is there wholly after a crash, or not at all, and when it resolves it is
 * on disk. Values are plain JSON. Nothing expires by itself. The store knows nothing of what the records mean, but it knows
 * whether one is as it was written: what is damaged, or of a newer version, is never passed off as sound and never dropped.
 * Kept by `test/contract/store` for every implementation.
 */
import type { DrainConfig, Resources } from '../config/config.ts'
import type { Endpoint } from '../hypervisor/driver.ts'

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }

export interface OperationRecord {
  readonly id: string
  readonly cluster: string
  readonly type: 'scale_out' | 'scale_in' | 'replace' | 'rolling_replace' | 'resize' | 'failover'
  /** What was asked: target count, drain options, instance. */
  readonly request: Json
  readonly actor: string
  readonly createdAtMs: number
  /** Set once, in the same batch as the last journal entry. */
  readonly endedAtMs: number | null
  readonly outcome: 'completed' | 'failed' | 'cancelled' | null
  /** Why it, or the number of its entries, cannot be taken at its word. Absent: it is as it was written. Never written. */
  readonly flaw?: string
}

/**
 * One line of an operation's journal. `started` is written before the side effect and names what it is about to make;
 * `done` and `failed` after it. The `reverting`, `reverted` and `revert_failed` kinds are the same for the undo.
 */
export interface JournalEntry {
  readonly operation: string
  /** 1, 2, 3 … within the operation; a second entry with the same number is refused. */
  readonly seq: number
  readonly step: string
  readonly kind:
    | 'started'
    | 'done'
    | 'failed'
    | 'reverting'
    | 'reverted'
    | 'revert_failed'
    | 'cancel_requested'
    | 'stuck'
    | 'resumed'
    | 'acknowledged'
  readonly data: Json
  readonly atMs: number
  /** As that of an operation. */
  readonly flaw?: string
}

/** An instance that is a member of its cluster (or is on its way out). */
export interface InstanceRecord {
  /** The driver's name for it, and the backend's id. */
  readonly id: string
  readonly cluster: string
  readonly node: string
  readonly incarnation: string
  readonly address: Endpoint
  readonly operation: string
  /** Booted from nothing, or a copy of another. */
  readonly origin: 'created' | 'cloned'
  readonly createdAtMs: number
  /** Its own, where they are no longer those of its cluster. */
  readonly resources?: Resources
  /** Scale-in leaves it alone. */
  readonly protected?: true
  /** Whose memory it began with, the nearest first. Absent: nobody's, or it was made by a version that did not say. */
  readonly lineage?: readonly AncestorRecord[]
}

/** One snapshot that an instance's memory goes back to. */
export type AncestorRecord = {
  readonly instance: string
  /** That life of it; null: a golden snapshot, or nobody knows. */
  readonly incarnation: string | null
  /** Wall clock: the instant of the snapshot. */
  readonly asOfMs: number
}

/** A static backend registered through the API. Those of the config file are not stored. */
export interface BackendRecord {
  readonly cluster: string
  readonly id: string
  readonly address: Endpoint
  readonly weight: number
  readonly incarnation: string
  /** Where it is. Absent: nobody said. */
  readonly zone?: string
}

/** An operator's mark on a backend, kept over restarts. No record: ready. */
export interface MarkRecord {
  readonly cluster: string
  readonly backend: string
  readonly mark: 'drain' | 'maint'
  /** Of a drain: how and until when, so that the next process goes on with it. */
  readonly drain?: DrainRecord
}

export interface DrainRecord {
  readonly deadlineAtMs: number
  readonly policy: DrainConfig
}

/** Who did what, when and why, in people's words, and what came of it. */
export interface HistoryRecord {
  /** Null: of a node, or of the whole. */
  readonly cluster: string | null
  readonly atMs: number
  readonly actor: string
  readonly from: Json
  readonly to: Json
  readonly reason: string
  /** The kind of command or operation. This and what follows is absent in lines of former versions, and where it says nothing. */
  readonly action?: string
  readonly outcome?: 'done' | 'failed' | 'cancelled' | 'refused'
  readonly operation?: string
  readonly node?: string
  /** Of a cluster: the backend or instance that it is about. */
  readonly backend?: string
}

export type Write =
  | { readonly put: 'operation'; readonly record: OperationRecord }
  | { readonly put: 'journal'; readonly record: JournalEntry }
  | { readonly put: 'instance'; readonly record: InstanceRecord }
  | { readonly delete: 'instance'; readonly id: string }
  | { readonly put: 'backend'; readonly record: BackendRecord }
  | { readonly delete: 'backend'; readonly cluster: string; readonly id: string }
  | { readonly put: 'mark'; readonly record: MarkRecord }
  | { readonly delete: 'mark'; readonly cluster: string; readonly backend: string }
  | { readonly put: 'history'; readonly record: HistoryRecord }
  /** Small named values: the installation's id, affinity keys. */
  | { readonly put: 'value'; readonly key: string; readonly value: Json }

/** Something in the store that is not as it was written, or that a newer version wrote. */
export interface Flaw {
  readonly of: 'operation' | 'journal' | 'instance' | 'backend' | 'mark' | 'value'
  /** Its key, as far as that can be believed. */
  readonly id: string
  readonly why: string
  /** Of an instance: what is left of its record. */
  readonly instance?: InstanceRecord
}

export interface OperationFilter {
  readonly cluster?: string
  /** Only those that have not ended, or of which that cannot be said. */
  readonly unfinished?: boolean
  /** Newest first, at most this many; default 100. */
  readonly limit?: number
}

export interface Store {
  /** All of it or nothing. Throws `store_unavailable` when it cannot be made durable. */
  write(batch: readonly Write[]): Promise<void>
  operations(filter: OperationFilter): Promise<readonly OperationRecord[]>
  operation(id: string): Promise<OperationRecord | null>
  /** In order of `seq`. */
  journal(operation: string): Promise<readonly JournalEntry[]>
  /** Everything that serves or is marked: read whole at start. What has a flaw is left out, but a mark that can still be read. */
  membership(): Promise<{
    readonly instances: readonly InstanceRecord[]
    readonly backends: readonly BackendRecord[]
    readonly marks: readonly MarkRecord[]
  }>
  /** Of `membership` the marks alone: they are few, and instances many. */
  marks(): Promise<readonly MarkRecord[]>
  /** Newest first; null: of everything. */
  history(cluster: string | null, limit: number): Promise<readonly HistoryRecord[]>
  /** Null also where it has a flaw. */
  value(key: string): Promise<Json | null>
  /**
   * All that is not sound, as of when it was first asked, less what was written anew since; but for operations also what another program
   * has done to it meanwhile.
   */
  flaws(): Promise<readonly Flaw[]>
  close(): Promise<void>
}
