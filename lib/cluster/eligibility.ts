/**
 * Whom a backend admits, and the word people see for it: two functions of the same independent facts. @pure
 * Each fact has one owner (the prober, the ejector, the application, scaling, the operator, registration, the cluster's
 * standing), and none of them is derived from another of the same backend.
 */
import type { BackendState, HealthStatus } from './backend.ts'
import type { Eligibility } from './board.ts'

export interface Facts {
  readonly health: HealthStatus
  /** Its exchanges went wrong too often: for a while it is left `new` clients only, or all. Null: it is not ejected. */
  readonly ejected: 'new' | 'all' | null
  /** The application itself asked for no new clients. */
  readonly selfDrain: boolean
  /** Scaling closed it to new clients. */
  readonly fenced: boolean
  /** Its grace period is over: it keeps nobody any more. Ends with the fence or mark that it came with. */
  readonly sealed: boolean
  /** The operator's mark. */
  readonly mark: 'drain' | 'maint' | null
  /** Nobody has seen it healthy since it was registered or came back from maintenance. */
  readonly warming: boolean
  /** So few of its cluster are well that health says nothing any more. */
  readonly panic: boolean
  /** So few of its cluster are well that the degraded ones serve like them. */
  readonly allHands: boolean
}

/** Whom it admits; see `board.ts` for the four words. The first line that applies decides. */
export function admission(facts: Facts): Eligibility {
  if (facts.mark === 'maint' || facts.warming) return 'none'
  if (!facts.panic && (facts.health === 'unhealthy' || facts.ejected === 'all')) return 'none'
  if (shut(facts)) return facts.sealed ? 'none' : 'bound'
  if (facts.selfDrain || ill(facts)) return 'bound'
  return facts.health === 'degraded' && !facts.allHands && !facts.panic ? 'spare' : 'any'
}

/** Closed to new clients by somebody's will. */
export function closed(facts: Pick<Facts, 'fenced' | 'mark' | 'selfDrain'>): boolean {
  return shut(facts) || facts.selfDrain
}

/** Closed to new clients by us: only what we closed can be sealed. */
export function shut(facts: Pick<Facts, 'fenced' | 'mark'>): boolean {
  return facts.fenced || facts.mark === 'drain'
}

/**
 * The state shown. What was asked of it comes before how it is: a drained backend that the operator then stops is
 * `drained` (its health says the rest), not `down`. `left` is the number of exchanges and tunnels on it.
 */
export function backendState(facts: Facts, left: number): BackendState {
  if (facts.mark === 'maint') return 'maint'
  if (closed(facts)) return left > 0 ? 'draining' : 'drained'
  if (facts.warming) return facts.health === 'unhealthy' ? 'down' : 'warming'
  return ill(facts) ? 'down' : 'ready'
}

/** What its cluster's standing counts it as; null: it is not in rotation, so it is not counted. */
export function voteOf(facts: Facts): 'well' | 'degraded' | 'ill' | null {
  if (facts.mark === 'maint' || facts.warming || closed(facts)) return null
  if (facts.ejected !== null || facts.health === 'unhealthy') return 'ill'
  return facts.health === 'degraded' ? 'degraded' : 'well'
}

function ill(facts: Facts): boolean {
  return !facts.panic && (facts.health === 'unhealthy' || facts.ejected !== null)
}
