/**
 * The recipes: what each kind of operation does, in order, and where its point of no return is.
 *
 *   scale_out  validate collect_metrics plan allocate prepare clone identify verify keep_golden REGISTER warm_up finalize
 *   scale_in   validate collect_metrics plan fence drain DEREGISTER stop destroy finalize
 *   resize     validate collect_metrics plan resize verify ADOPT finalize
 *   replace    the first as far as warm_up, then the second from fence on; its pivot is REGISTER
 */
import type { OperationRecord } from '../store/store.ts'
import type { Recipe, Step } from './step.ts'
import { allocate } from './steps/allocate.ts'
import { clone } from './steps/clone.ts'
import { collectMetricsStep } from './steps/collect-metrics.ts'
import { deregister } from './steps/deregister.ts'
import { destroy } from './steps/destroy.ts'
import { drain } from './steps/drain.ts'
import { fence } from './steps/fence.ts'
import { finalize } from './steps/finalize.ts'
import { identify } from './steps/identify.ts'
import { keepGolden } from './steps/keep-golden.ts'
import { plan } from './steps/plan.ts'
import { prepare } from './steps/prepare.ts'
import { register } from './steps/register.ts'
import { adopt, planResizeStep, resize, validateResize, verifyResize } from './steps/resize.ts'
import { stop } from './steps/stop.ts'
import { validate } from './steps/validate.ts'
import { verify } from './steps/verify.ts'
import { warmUp } from './steps/warm-up.ts'
import { straining } from './strain.ts'

const decide: readonly Step[] = [validate, collectMetricsStep, plan]
const make: readonly Step[] = [prepare, clone, identify, verify]
const grow: readonly Step[] = [allocate, ...make.map(straining), keepGolden, register, warmUp]
const shrink: readonly Step[] = [fence, drain, deregister, stop, destroy]

export const recipes = {
  scale_out: { steps: [...decide, ...grow, finalize], pivot: register.name },
  scale_in: { steps: [...decide, ...shrink, finalize], pivot: deregister.name },
  replace: { steps: [...decide, ...grow, ...shrink, finalize], pivot: register.name },
  resize: {
    steps: [validateResize, collectMetricsStep, planResizeStep, resize, verifyResize, adopt, finalize],
    pivot: adopt.name,
  },
} satisfies Record<OperationRecord['type'], Recipe>
