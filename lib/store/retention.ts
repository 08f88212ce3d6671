/** How much of the past a store keeps. Only what has ended is ever dropped, the oldest first. @pure */
export interface Retention {
  /** Ended operations with their journals. Unfinished ones are kept whatever their number. */
  readonly operationsMax: number
  /** Lines of history, over all clusters. */
  readonly historyMax: number
}

export const defaultRetention: Retention = { operationsMax: 1_000, historyMax: 10_000 }
