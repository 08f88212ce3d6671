/**
 * A driver talks to one kind of hypervisor. It knows instances and snapshots by name, nothing of clusters or operations:
 * the owner's tag is a label it stores and gives back.
 *
 * Rules for every driver (kept by `test/contract/driver`):
 * - The owner's tag is on disk *before* anything runs, so that whatever a crash leaves behind can be found and claimed.
 * - Instances and snapshots outlive the process that made them. A new driver object on the same directory sees them all.
 * - `stop`, `destroy`, `resize`, `pause`, `resume` are idempotent: what is already so is a success.
 * - `snapshot` leaves the source running, whatever happens.
 * - "Cannot ask" is never "gone": `inspect` throws `hypervisor_unreachable`, or reports the instance as `unknown`.
 * - Every wait has a deadline; every method that waits takes a signal and stops soon after it aborts.
 * - Files that hold memory or state are 0600, directories 0700.
 */
import type { DriverKind, Resources } from '../config/config.ts'
import type { ErrorCode } from '../errors.ts'

/** The ownership tag. Nothing without our `installation` is ever touched. */
export interface Owner {
  /** The Tidegate installation (one per store) that made the resource. */
  readonly installation: string
  readonly cluster: string
  readonly operation: string
  /** The life of that installation in which it was made. Absent: before lives were numbered. */
  readonly epoch?: number
}

export interface InstanceSpec {
  /** `<cluster>-<operation>-<n>`: file-system and host-name safe, at most 63 characters. */
  readonly name: string
  readonly owner: Owner
  /** The application's port inside the instance. */
  readonly port: number
  readonly resources: Resources
  readonly template: Readonly<Record<string, unknown>>
}

export interface CloneSpec extends InstanceSpec {
  /** Name of the snapshot. */
  readonly snapshot: string
}

export interface Endpoint {
  readonly host: string
  readonly port: number
}

/** `unknown`: something is there and could not be asked. Never treated as gone. */
export type InstanceState = 'running' | 'paused' | 'stopped' | 'unknown'

export interface HeldInstance {
  readonly name: string
  readonly owner: Owner
  readonly state: InstanceState
  /** Where the application answers, as seen from here. Null until it was ever started. */
  readonly address: Endpoint | null
  readonly createdAtMs: number
  readonly pid: number | null
  /** Resident memory of the instance now, bytes; null where it cannot be read. */
  readonly residentBytes: number | null
  /** What its own disks take now, bytes, which a snapshot of it has too; absent: the driver gives none, or they cannot be read. */
  readonly diskBytes?: number
  /** The snapshot on whose files its memory still rests; null or absent: none, it could go. */
  readonly snapshot?: string | null
}

export interface HeldSnapshot {
  readonly name: string
  readonly owner: Owner
  readonly createdAtMs: number
  readonly source: string
  readonly bytes: number
  /** False while it is being written, or after a crash in the middle: it may only be destroyed. */
  readonly complete: boolean
}

export interface Held {
  readonly instances: readonly HeldInstance[]
  readonly snapshots: readonly HeldSnapshot[]
}

export interface SnapshotRequest {
  readonly name: string
  readonly owner: Owner
  readonly source: string
  /** It is to serve longer than this process: all of it gets a checksum, which takes a while. */
  readonly keep?: boolean
}

export interface SnapshotReport {
  readonly snapshot: HeldSnapshot
  /** How long the source did not run, milliseconds. */
  readonly pausedMs: number
  /** How it was taken, where the driver has more than one way: its own word. */
  readonly method?: string
}

/** What of an instance may be changed while it runs. */
export type Resizable = 'cpus' | 'memory' | 'disk'

/** What a driver can do beyond the minimum. Callers ask before they try; a driver refuses what is not in here. */
export interface Capabilities {
  /** What `resize` may change; empty where it changes nothing. */
  readonly resize: readonly Resizable[]
  /** A snapshot keeps its source from running so shortly (20 ms at most) that it need not be fenced for it. */
  readonly snapshotWhileRunning: boolean
  readonly pause: boolean
  /** Instances have the CPUs and the memory that they are given; otherwise `resources` are only counted. */
  readonly sized: boolean
}

export interface ResizeReport {
  readonly instance: HeldInstance
  /** What it has now: what was asked for, rounded up to what the hypervisor can give. */
  readonly resources: Resources
  /** Whether the application heard of it; `no_hook`: it did not ask to. */
  readonly application: 'acknowledged' | 'no_hook' | 'not_told'
}

/** What a new instance must be told so that it stops believing it is its source. */
export interface Identity {
  readonly instanceId: string
  readonly incarnation: string
  readonly cluster: string
  /** `created` for a cold boot, `cloned` for a copy of a running instance. */
  readonly reason: 'created' | 'cloned'
  /** At least 32 random bytes, base64, to mix into every random source. */
  readonly entropy: string
  /** The true time, milliseconds since the epoch: a restored guest's clock stands where the snapshot was taken. */
  readonly wallClockMs: number
  /** Of a clone, where it is known: whose copy it is, and as of when. */
  readonly clonedFrom?: { readonly instanceId: string; readonly atMs: number }
}

export interface IdentityAck {
  readonly instanceId: string
  readonly incarnation: string
  /** Whether the application registered a hook of its own and it ran. */
  readonly application: 'acknowledged' | 'no_hook'
}

/** One line of `tidegate doctor`. `fix` says what to type or install when `ok` is false. */
export interface Diagnosis {
  readonly name: string
  readonly ok: boolean
  readonly detail: string
  readonly fix?: string
  /** Worth mending, but what runs goes on and a start is not refused for it. */
  readonly advice?: true
  /** The row of the error table that it would be, where it is one. */
  readonly code?: ErrorCode
}

export interface Driver {
  readonly kind: DriverKind
  readonly can: Capabilities
  /** Can instances of this template run here? Throws nothing; `template` null checks the hypervisor only. */
  check(template: Readonly<Record<string, unknown>> | null): Promise<readonly Diagnosis[]>
  /** Boots from nothing. Resolves when it runs and has an address; the application may not answer yet. */
  create(spec: InstanceSpec, signal: AbortSignal): Promise<HeldInstance>
  /** Saves the running instance `source` under `name`. */
  snapshot(request: SnapshotRequest, signal: AbortSignal): Promise<SnapshotReport>
  /**
   * A new running instance from a complete snapshot. Resolves when it runs; its application has state but no identity. It has
   * the size that the source had when it was saved. Where instances have a size at all (`can.sized`), a spec that names neither
   * that one nor the one that the source was made with is refused before anything is started (`template_invalid`). The
   * snapshot's checksums, version and CPU are looked at before anything is started (`snapshot_unusable`).
   */
  clone(spec: CloneSpec, signal: AbortSignal): Promise<HeldInstance>
  /** Gives the instance its identity and waits for its acknowledgement. */
  identify(name: string, identity: Identity, signal: AbortSignal): Promise<IdentityAck>
  /**
   * Gives a running instance other resources without restarting it; a failure leaves those it had. The application is told
   * what it may use before something leaves and after something came, and what it had when it failed. Throws
   * `resize_unsupported` before anything is changed when they cannot be given while it runs.
   */
  resize(name: string, resources: Resources, signal: AbortSignal): Promise<ResizeReport>
  /**
   * Stops an instance's clocks and keeps it in memory, for as long as one likes; `resume` undoes it. It answers nothing
   * meanwhile and cannot be the source of a snapshot. Throws `pause_unsupported`.
   */
  pause(name: string): Promise<void>
  /** Makes a paused instance run. */
  resume(name: string): Promise<void>
  /** Ends the instance: politely first, by force after `graceMs`. Its files stay until `destroy`. */
  stop(name: string, graceMs: number): Promise<void>
  /** Removes an instance (stopping it) or a snapshot, with all its files. Clones of a destroyed snapshot live on. */
  destroy(name: string): Promise<void>
  /** Reality: all that is held under this driver's directory, whoever started it. */
  inspect(): Promise<Held>
}
