/**
 * Whom a backend admits, and the word people see for it: two functions of the same independent facts. @pure
 * Each fact has one owner (the prober, scaling, the operator, registration), and none of them is derived from another.
 */
import type { BackendState, HealthStatus } from './backend.ts'

export interface Facts {
  readonly health: HealthStatus
  /** Scaling closed it to new clients. */
  readonly fenced: boolean
  /** Its grace period is over: it keeps nobody any more. Ends with the fence or mark that it came with. */
  readonly sealed: boolean
  /** The operator's mark. */
  readonly mark: 'drain' | 'maint' | null
  /** Nobody has seen it healthy since it was registered or came back from maintenance. */
  readonly warming: boolean
}

/**
 * `any` everyone · `bound` only clients that are bound to it · `none` nobody.
 * A fence or a drain keeps bound clients until it is sealed; a backend that cannot answer keeps none, fenced or not.
 */
export function admission(facts: Facts): 'any' | 'bound' | 'none' {
  if (facts.mark === 'maint' || facts.health === 'unhealthy' || facts.warming) return 'none'
  if (!closed(facts)) return 'any'
  return facts.sealed ? 'none' : 'bound'
}

/** Closed to new clients. */
export function closed(facts: Pick<Facts, 'fenced' | 'mark'>): boolean {
  return facts.fenced || facts.mark === 'drain'
}

/**
 * The state shown. What was asked of it comes before how it is: a drained backend that the operator then stops is
 * `drained` (its health says the rest), not `down`. `left` is the number of exchanges and tunnels on it.
 */
export function backendState(facts: Facts, left: number): BackendState {
  if (facts.mark === 'maint') return 'maint'
  if (closed(facts)) return left > 0 ? 'draining' : 'drained'
  if (facts.health === 'unhealthy') return 'down'
  return facts.warming ? 'warming' : 'ready'
}
