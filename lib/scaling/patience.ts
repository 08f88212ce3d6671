/**
 * How patient each phase is before the point of no return: which failures may pass there by themselves, how many of them it takes,
 * and what the pause between two tries begins with. @pure
 *
 * A phase that is not here fails at its first failure: what it finds wrong stays wrong, or is waited for within the step. A step is
 * undone before it is tried again, all its tries share its one deadline, and all steps of a phase share its failures. Behind the point
 * of no return, and while undoing, every step has `limits.attemptsMax`.
 */
import type { Phase } from '../phases.ts'
import type { JournalEntry } from '../store/store.ts'
import { backoffMs, limits } from './limits.ts'
import { phaseOfStep, triedAgain } from './phase.ts'

interface Patience {
  /** With so many failures the phase has failed. */
  readonly failuresMax: number
  readonly backoffBaseMs: number
  /** Codes of what may pass. A deadline that was missed, a full disk or a full node are nowhere among them. */
  readonly passing: readonly string[]
}

const hypervisor = ['hypervisor_failed', 'hypervisor_unreachable'] as const

const patience: Readonly<Partial<Record<Phase, Patience>>> = {
  collecting_metrics: { failuresMax: 3, backoffBaseMs: limits.backoffBaseMs, passing: hypervisor },
  allocating: { failuresMax: 3, backoffBaseMs: limits.backoffBaseMs, passing: hypervisor },
  // A source serves between two tries of saving it: it is not paused twice within a second.
  preparing: {
    failuresMax: 3,
    backoffBaseMs: 1_000,
    passing: [...hypervisor, 'guest_unreachable', 'snapshot_failed', 'instance_died'],
  },
  configuring: {
    failuresMax: 4,
    backoffBaseMs: limits.backoffBaseMs,
    passing: [...hypervisor, 'guest_unreachable'],
  },
  // It asks again and again by itself; only that its node could not be asked ends it early. Who died stays dead.
  verifying: { failuresMax: 3, backoffBaseMs: limits.backoffBaseMs, passing: hypervisor },
}

/** Before the pivot: whether `step`, which has just failed with `code`, is tried once more. `leftMs` of its deadline are left. */
export function anotherTry(
  step: string,
  code: string,
  journal: readonly JournalEntry[],
  leftMs: number,
): boolean {
  const own = patienceOf(step)
  if (!own?.passing.includes(code)) return false
  const phase = phaseOfStep(step)
  const failures = journal.filter(
    entry => entry.kind === 'failed' && triedAgain(entry) && phaseOfStep(entry.step) === phase,
  ).length
  const attempts = journal.filter(entry => entry.kind === 'started' && entry.step === step).length
  return failures + 1 < own.failuresMax && pauseMs(step, attempts + 1) < leftMs
}

/** Before the pivot: the pause before attempt `attempt` (2, 3 …) of a step; 0 before the first. */
export function pauseMs(step: string, attempt: number): number {
  return backoffMs(attempt, patienceOf(step)?.backoffBaseMs)
}

function patienceOf(step: string): Patience | null {
  const phase = phaseOfStep(step)
  return (phase && patience[phase]) ?? null
}
