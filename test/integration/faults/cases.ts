/**
 * Every case there is, as data: each fault at each step of each recipe, and on which kind of cluster it is tried. A kind of cluster is chosen so that
 * nobody has to boot: an emulated machine boots for half a minute and is cloned in one second. @pure
 */
import type { Command } from '../../../lib/command.ts'
import { type RecipeKind, recipes } from '../../../lib/scaling/recipes.ts'
import { rollingRecipe } from '../../../lib/scaling/steps/rolling.ts'

/** Where clones come from; `standby`: live ones, and one stands by for each instance. */
export type ClusterKind = 'live' | 'golden' | 'standby'

/** What is done as the step begins; the last three end the controller: then, with the step done and nothing said of it, and when that is said. */
export const faults = [
  ...(['killed', 'application killed', 'stopped', 'disk full'] as const),
  ...(['controller killed', 'controller killed unsaid', 'controller killed said'] as const),
]
export type Fault = (typeof faults)[number]
/** Of those that are done to a machine: who leaves or is changed, who is made, who has nothing to do with it. */
export type Victim = 'new' | 'concerned' | 'other'

export interface RecipeCase {
  readonly kind: RecipeKind
  readonly cluster: ClusterKind
  /** How many serve before it, beyond the least. */
  readonly more?: number
  /** Null: it begins by itself, when the first is killed. */
  readonly command: ((id: string, situation: Situation) => Command) | null
  /** Whom it removes or changes. */
  readonly concerns: 'first' | 'all' | 'leaving' | 'nobody'
  /** Each who is there has one CPU before it. */
  readonly small?: true
  /** Those who are made know nothing of what those before them kept. */
  readonly fresh?: true
}

export interface Situation {
  readonly serving: number
  /** Of the first. */
  readonly cpus: number
}

export interface Case {
  readonly name: string
  readonly recipe: RecipeCase
  readonly step: string
  /** The step begins so many times, in other operations too, until it is the one that is meant. */
  readonly nth: number
  readonly fault: Fault
}

export const scaleTo = (targetCount: number): Command => ({
  ...{ kind: 'scale' as const, cluster: 'web', direction: null },
  ...{ targetCount, immediate: false, drainConnections: true },
})

/** With the template that is there: every batch is a replace on trial by clones of its golden snapshot. */
const rolling = (): Command => ({
  ...{ kind: 'replace_rolling', cluster: 'web' },
  wish: { batch_size: 1, pause_seconds: 1, max_failure_ratio: 0.9 },
})

export const recipeCases: Readonly<Record<string, RecipeCase>> = {
  'scale_out, clones': {
    ...{ kind: 'scale_out', cluster: 'live', concerns: 'nobody' },
    command: (_id, { serving }) => scaleTo(serving + 1),
  },
  'scale_out, golden': {
    ...{ kind: 'scale_out', cluster: 'golden', concerns: 'nobody' },
    command: (_id, { serving }) => scaleTo(serving + 1),
  },
  'scale_out, resize first': {
    ...{ kind: 'scale_out_to_cpus', cluster: 'live', concerns: 'all', small: true },
    // Each who is there gets one more, and one is made.
    command: () => ({
      ...{ kind: 'scale_to_cpus', cluster: 'web' },
      direction: null,
      immediate: false,
      targetCpus: 5,
    }),
  },
  scale_in: {
    ...{ kind: 'scale_in', cluster: 'live', more: 1, concerns: 'leaving' },
    command: (_id, { serving }) => scaleTo(serving - 1),
  },
  replace: {
    ...{ kind: 'replace', cluster: 'live', concerns: 'first' },
    command: instanceId => ({ kind: 'replace', cluster: 'web', instanceId }),
  },
  'replace --all': {
    ...{ kind: 'replace', cluster: 'golden', concerns: 'all', fresh: true },
    command: () => ({ kind: 'replace_all', cluster: 'web' }),
  },
  resize: {
    ...{ kind: 'resize', cluster: 'live', concerns: 'first' },
    command: (instanceId, { cpus }) => ({
      ...{ kind: 'resize', cluster: 'web', instanceId },
      resources: { cpus: cpus === 1 ? 2 : 1 },
    }),
  },
  failover: { kind: 'failover', cluster: 'standby', concerns: 'first', command: null },
  'replace on trial': {
    ...{ kind: 'replace_on_trial', cluster: 'golden', concerns: 'first', fresh: true },
    command: rolling,
  },
  'replace --rolling': {
    ...{ kind: 'rolling_replace', cluster: 'golden', concerns: 'all', fresh: true },
    command: rolling,
  },
}

/** Why a recipe is not tried, in words; null: it is. */
export function excluded(name: string, driver: 'process' | 'qemu'): string | null {
  const sized = recipeCases[name]?.small === true || name === 'resize'
  return sized && driver === 'process' ? 'a process has no size' : null
}

export const recipeNames: readonly string[] = Object.keys(recipeCases)

/** Of a rolling replace a batch for each of those at the least. */
export function stepsOf({ kind }: RecipeCase, least: number): readonly string[] {
  if (kind !== 'rolling_replace') return recipes[kind].steps.map(({ name }) => name)
  const batches = Array.from({ length: least }, (_, index) => [`${index}`])
  const request = { batches } as unknown as Parameters<typeof rollingRecipe>[0]
  return rollingRecipe(request).steps.map(({ name }) => name)
}

/** A rolling replace and its parts have steps of the same names. */
function nthOf({ kind }: RecipeCase, step: string, least: number): number {
  if (kind === 'rolling_replace') return step === 'finalize' ? least + 1 : 1
  return kind === 'replace_on_trial' && (step === 'collect_metrics' || step === 'plan') ? 2 : 1
}

export function casesOf(name: string, least: number): readonly Case[] {
  const recipe = recipeCases[name]!
  return faults.flatMap(fault =>
    stepsOf(recipe, least).map(step => ({ name, recipe, step, nth: nthOf(recipe, step, least), fault })),
  )
}

export const keyOf = ({ name, step, fault }: Pick<Case, 'name' | 'step' | 'fault'>): string =>
  `${name} | ${step} | ${fault}`

/** Steps that lie far from each other come after each other. */
const apart = [1, 5, 3, 7, 0, 4, 2, 6]

/**
 * Of each recipe and each fault one step, and then the next, where the fewest have passed first: what an hour is enough for is something of
 * everything. `passed`: as `keyOf` names them.
 */
export function byBreadth(
  cases: readonly Case[],
  least: number,
  passed: ReadonlySet<string>,
): readonly (readonly Case[])[] {
  const rounds: Case[][] = []
  for (const cell of Map.groupBy(cases, ({ name, fault }) => `${name} ${fault}`).values()) {
    const [{ name, fault, recipe }] = cell as [Case, ...Case[]]
    const steps = stepsOf(recipe, least)
    const place = ({ step }: Case) => apart.indexOf(steps.indexOf(step) % apart.length)
    const before = steps.filter(step => passed.has(keyOf({ name, step, fault }))).length
    const left = cell.filter(one => !passed.has(keyOf(one))).toSorted((a, b) => place(a) - place(b))
    for (const [index, one] of left.entries()) {
      rounds[before + index] ??= []
      rounds[before + index]!.push(one)
    }
  }
  return Array.from(rounds, round => round ?? [])
}
