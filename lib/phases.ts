/**
 * The phases of an operation, the progress labels that people see, and what may follow what. @pure
 *
 *   requested ► validating ► collecting_metrics ► planning ► allocating ► preparing ► configuring ► verifying ► finalizing ► COMPLETED
 *       │            │               │               │  └─(scale_in)────────►│  │          │ └─(scale_in)─────────►▲    │
 *       └────────────┴───────────────┴───────┬───────┴───────────┴───────────┘──┴──────────┴────────────┘          │    │
 *                                            │ a step failed, a restart          │ somebody cancelled              │    │ patience
 *                                            ▼                                   ▼                                 │    ▼ ended
 *                                          failed ────────────────────────► rolling_back ─► ROLLED_BACK            │  FAILED
 *                                            │                               │  ▲   │ └───► CANCELLED              │    │
 *                                            │          an undo gives up,    ▼  │   └─────► FAILED (not as before)  │    ▼
 *                                            └──────────────────────────►  stuck ──────────────────────────────────┘  stuck
 *                                                                            └ acknowledged ► FAILED
 *
 * In place of what lies between, a `rolling_replace` goes planning ► replacing ► finalizing. Capitals are ends. A phase never comes back but through `stuck`, and entries that say the same again change nothing. Which phase an
 * operation is in follows from its journal: `scaling/phase.ts`. The journal refuses an entry that would lead where nothing leads.
 */

/** Until something fails, in this order. */
export const forward = [
  'requested',
  'validating',
  'collecting_metrics',
  'planning',
  'allocating',
  'preparing',
  'configuring',
  'verifying',
  'replacing',
  'finalizing',
] as const

export const phases = [
  ...forward,
  'completed',
  'failed',
  'rolling_back',
  'rolled_back',
  'cancelled',
  'stuck',
] as const
export type Phase = (typeof phases)[number]

/** What may follow what. */
export const legal: Readonly<Record<Phase, readonly Phase[]>> = {
  requested: ['validating', 'collecting_metrics', 'failed', 'rolling_back'],
  validating: ['collecting_metrics', 'failed', 'rolling_back'],
  collecting_metrics: ['planning', 'failed', 'rolling_back'],
  planning: ['allocating', 'preparing', 'replacing', 'failed', 'rolling_back'],
  allocating: ['preparing', 'failed', 'rolling_back'],
  preparing: ['configuring', 'verifying', 'failed', 'rolling_back'],
  configuring: ['verifying', 'finalizing', 'failed', 'rolling_back'],
  verifying: ['finalizing', 'failed', 'rolling_back'],
  replacing: ['finalizing', 'failed', 'rolling_back'],
  finalizing: ['completed', 'failed', 'rolling_back'],
  failed: ['rolling_back', 'stuck'],
  rolling_back: ['rolled_back', 'cancelled', 'failed', 'stuck'],
  stuck: ['rolling_back', 'finalizing', 'failed'],
  completed: [],
  rolled_back: [],
  cancelled: [],
}
