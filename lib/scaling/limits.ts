/** Every bound of an operation in one place, with its unit. @pure */

export const limits = {
  /** No cluster grows beyond this, whatever its policy says. */
  instancesMax: 100,
  /** How many instances are made, stopped or destroyed at once. */
  parallelMax: 4,
  /** Clusters that a round of reconcile looks after at once. */
  clustersAtOnceMax: 16,
  /** Runs of one step after the pivot, and of one undo, before the operation gives up on it. */
  attemptsMax: 5,
  /** The pause before attempt n + 1 is `base × 2^(n−1)`, at most `max`. Before the pivot a phase may have a base of its own. */
  backoffBaseMs: 200,
  backoffMaxMs: 5_000,
  /** How long a step that was told to stop may take to do so before its undo begins all the same. */
  settleMs: 10_000,
  /** Between two tries of an operation that is stuck: `base × 2^(n−1)`, at most `max`. */
  stuckPauseBaseMs: 30_000,
  stuckPauseMaxMs: 300_000,
  /** With so many stuck ones in a cluster nothing new begins there. */
  stuckMax: 3,
  /** Operations of a cluster that are looked through for the parts of one: a batch may be broken off by a restart and begun again. */
  partsMax: 2_000,
  partAttemptsMax: 5,
  partPollMs: 1_000,
  /** How long one part may take beside what it waits for by itself. */
  partMs: 21_600_000,
  inspectMs: 10_000,
  revertMs: 60_000,
  /** Memory is copied at no less than this (20 MB a second), or the disk is not fit for it. */
  copiedBytesPerMs: 20_000,
  /** Of a snapshot and of a clone, with no memory at all: `copyMs` adds what theirs takes. */
  snapshotBaseMs: 60_000,
  cloneBaseMs: 60_000,
  createMs: 180_000,
  resizeMs: 60_000,
  identifyMs: 30_000,
  verifyCloneMs: 30_000,
  verifyCreateMs: 180_000,
  /** Between two probes of an instance that is being verified. */
  verifyPollMs: 50,
  /** One request that warms an instance before it is saved; more of its answer is not read. */
  warmRequestMs: 10_000,
  warmAnswerBytesMax: 1024 * 1024,
  /** Health checks of an instance before it is saved, and of a clone that is to stand ready. */
  rehearsalsBeforeSave: 5,
  rehearsalsInPool: 2,
  /** A source is out of new traffic this long, at most, before it is paused with what it still has in flight. */
  quiesceMs: 500,
  quiescePollMs: 10,
  /** Added to a drain's grace period: closing tunnels and cutting take a moment. */
  drainSlackMs: 25_000,
  /** How often, while old ones drain, those in their places are looked at. */
  newcomerLookMs: 1_000,
  /** How long a removed instance may take to show nothing in flight before it is cut. */
  goneMs: 5_000,
  stopGraceMs: 5_000,
  /** How long a clone that stands by may be silent when its instance is dead, and how often it is asked. */
  wakeMs: 20_000,
  wakePollMs: 500,
  /** What is held but claimed by nobody is left alone until it is this old. */
  orphanGuardMs: 30_000,
  /** Reconcile, after it failed to bring a cluster up to as many as are wanted, or that did not last. */
  repairBackoffBaseMs: 5_000,
  repairBackoffMaxMs: 300_000,
  /** A repair has lasted when nobody had to be made again for so long, or for twice the pause before the next where that is more. */
  repairProvenMs: 60_000,
  /** So many repairs in a row that did not last are an alarm. */
  repairsAlarm: 5,
  /** Unfinished operations read at start. One a cluster at a time makes this generous. */
  unfinishedMax: 10_000,
} as const

/** The deadline of what copies memory: it grows with the memory, so that a large instance is not given up half-way. */
export function copyMs(baseMs: number, memoryBytes: number): number {
  return Math.ceil(baseMs + memoryBytes / limits.copiedBytesPerMs)
}

/** Milliseconds to wait before attempt `attempt` (2, 3 …); 0 before the first. */
export function backoffMs(attempt: number, baseMs: number = limits.backoffBaseMs): number {
  if (attempt <= 1) return 0
  return Math.min(limits.backoffMaxMs, baseMs * 2 ** (attempt - 2))
}
