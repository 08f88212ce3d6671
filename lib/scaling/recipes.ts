/**
 * The recipes: what each kind of operation does, in order, and where its point of no return is.
 *
 *   scale_out  validate collect_metrics plan allocate prepare clone identify verify keep_golden REGISTER warm_up finalize
 *   to CPUs    validate collect_metrics plan grow verify_grown allocate prepare clone identify verify keep_golden REGISTER warm_up finalize:
 *              a scale_out that was asked for CPUs; those who are there grow before others are made, and its register tells the store both
 *   scale_in   validate collect_metrics plan fence drain DEREGISTER stop destroy finalize
 *   resize     validate collect_metrics plan resize verify ADOPT finalize
 *   failover   validate collect_metrics plan allocate clone identify verify REGISTER warm_up stop destroy finalize
 *   replace    the first as far as warm_up, then the second from fence on. Its register is the switch, which closes the old ones in the same
 *              generation; its pivot is WARM_UP: new ones that are ill in the table go again
 *   rolling    collect_metrics plan batch_1 … batch_n FINALIZE, where each batch is a replace on trial: `rolling.ts`
 *   on trial   the same with a checkpoint between fence and drain, in place of warm_up; its pivot is DEREGISTER
 */
import { strict as assert } from 'node:assert'
import type { OperationRecord } from '../store/store.ts'
import { straining } from './placement/strain.ts'
import type { RollingRequest } from './rolling/rolling.ts'
import type { Recipe, Step } from './step.ts'
import { allocate } from './steps/allocate.ts'
import { checkpoint } from './steps/checkpoint.ts'
import { clone } from './steps/clone.ts'
import { collectMetricsStep } from './steps/collect-metrics.ts'
import { deregister } from './steps/deregister.ts'
import { destroy } from './steps/destroy.ts'
import { drain } from './steps/drain.ts'
import { allocateStandby, planFailover, registerStandby, wakeStandby } from './steps/failover.ts'
import { fence } from './steps/fence.ts'
import { finalize } from './steps/finalize.ts'
import { grow, planCapacityStep, registerGrown, verifyGrown } from './steps/grow.ts'
import { identify } from './steps/identify.ts'
import { keepGolden } from './steps/keep-golden.ts'
import { plan } from './steps/plan.ts'
import { prepare } from './steps/prepare.ts'
import { register } from './steps/register.ts'
import { adopt, planResizeStep, resize, validateResize, verifyResize } from './steps/resize.ts'
import { rollingRecipe } from './steps/rolling.ts'
import { stop } from './steps/stop.ts'
import { stayClosed, switchOver } from './steps/switch-over.ts'
import { validate } from './steps/validate.ts'
import { verify } from './steps/verify.ts'
import { warmUp, warmUpOrBack } from './steps/warm-up.ts'

const decide: readonly Step[] = [validate, collectMetricsStep, plan]
const make: readonly Step[] = [prepare, clone, identify, verify]
const bring: readonly Step[] = [allocate, ...make.map(straining), keepGolden]
const begin: readonly Step[] = [...decide, ...bring]
const leave: readonly Step[] = [drain, deregister, stop, destroy, finalize]

export const recipes = {
  scale_out: { steps: [...begin, register, warmUp, finalize], pivot: register.name },
  scale_out_to_cpus: {
    steps: [
      ...[validate, collectMetricsStep, planCapacityStep, grow, verifyGrown],
      ...[...bring, registerGrown, warmUp, finalize],
    ],
    pivot: registerGrown.name,
  },
  scale_in: { steps: [...decide, fence, ...leave], pivot: deregister.name },
  replace: {
    steps: [...begin, switchOver, warmUpOrBack, stayClosed, ...leave],
    pivot: warmUpOrBack.name,
  },
  resize: {
    steps: [validateResize, collectMetricsStep, planResizeStep, resize, verifyResize, adopt, finalize],
    pivot: adopt.name,
  },
  failover: {
    steps: [
      ...[validate, collectMetricsStep, planFailover, allocateStandby, wakeStandby, identify, verify],
      ...[registerStandby, warmUp, stop, destroy, finalize],
    ],
    pivot: registerStandby.name,
  },
  /** Until the old ones leave it can be undone. */
  replace_on_trial: {
    steps: [...begin, switchOver, stayClosed, checkpoint, ...leave],
    pivot: deregister.name,
  },
} satisfies Record<
  Exclude<OperationRecord['type'], 'rolling_replace'> | 'scale_out_to_cpus' | 'replace_on_trial',
  Recipe
>

/** Which recipe an operation has: of each kind there is one, but of a rolling replace one for each number of batches. */
export type RecipeKind = keyof typeof recipes | 'rolling_replace'

export function recipeKind({ type, request }: Pick<OperationRecord, 'type' | 'request'>): RecipeKind {
  const { trial, target_cpus: cpus } = (request ?? {}) as {
    readonly trial?: unknown
    readonly target_cpus?: unknown
  }
  if (type === 'scale_out' && cpus !== undefined) return 'scale_out_to_cpus'
  return type === 'replace' && trial !== undefined ? 'replace_on_trial' : type
}

/** The recipe of one operation. */
export function recipeOf(record: Pick<OperationRecord, 'type' | 'request'>): Recipe {
  const recipe = knownRecipe(record)
  assert(recipe, `operations of type ${record.type} have a recipe`)
  return recipe
}

/** Null: this version knows no such operations. */
export function knownRecipe(record: Pick<OperationRecord, 'type' | 'request'>): Recipe | null {
  const kind = recipeKind(record)
  if (kind !== 'rolling_replace') return Object.hasOwn(recipes, kind) ? recipes[kind] : null
  const { batches } = (record.request ?? {}) as { readonly batches?: unknown }
  return Array.isArray(batches) ? rollingRecipe(record.request as unknown as RollingRequest) : null
}
