/** What `clusters[].scaling` says of what is there before anybody asks for it, of rolling replaces and of growth, as it is used. @pure */

/** How a cluster without instances is woken. */
export interface WakeConfig {
  /** With no exchange, tunnel or live session for so long its instances leave. */
  readonly idleAfterMs: number
  /** Requests of all threads that may wait for an instance. */
  readonly maxWaiting: number
  readonly waitTimeoutMs: number
  /** Who was there may have just died: also a request that found nobody alive where it was sent waits. */
  readonly afterFailure?: true
}

/** Clones that stand by for each instance, and take its place when it dies. */
export interface StandbyClonesConfig {
  /** Of each instance. */
  readonly count: number
  /** A time table as cron knows it: when each is made anew, with the memory of then. */
  readonly refresh: string
  /** How requests wait for one to take a dead instance's place. */
  readonly wait: WakeConfig
}

export interface WarmPoolConfig {
  readonly size: number
  /** `paused` takes no processor time; where a driver cannot pause they run. */
  readonly state: 'paused' | 'ready'
}

/** What is there before anybody asks for it, or not even that. */
export interface StandbyConfig {
  /** Null: the minimum is one instance or more. */
  readonly scaleToZero: WakeConfig | null
  /** Golden clones that are kept in advance; null: none are. */
  readonly warmPool: WarmPoolConfig | null
  /** Null or absent: none are kept. */
  readonly clones?: StandbyClonesConfig | null
}

/** What a node may hold of snapshots; null: any. */
export interface SnapshotLimits {
  readonly maxBytes: number | null
  readonly maxCount: number | null
  /** A golden one that is older is made anew. */
  readonly maxAgeMs: number | null
}

/** How far instances grow before others are made, where CPUs are asked for. */
export interface GrowthPolicy {
  /** Asked for CPUs, the instances that are there grow first, to so many at most; 0: others are made. Left out: 0. */
  readonly resizeFirstCpus?: number
  /** The memory that one has at so many, MiB; 0: memory stays. Left out: 0. */
  readonly resizeFirstMemoryMib?: number
}

/** What a scaling policy says of rolling replaces. */
export interface RollingPolicy {
  /** How long a batch serves before it is judged. Left out: 30. */
  readonly rollingPauseSeconds?: number
  /** The share of its exchanges that may fail. Left out: 0.05. */
  readonly rollingMaxFailureRatio?: number
}
