/** The cases that are left to try, kind of cluster by kind of cluster, each on an installation of its own; one that breaks a scene gets the next a new one. */
import { byBreadth, type Case, type ClusterKind, casesOf, excluded, keyOf, recipeNames } from './cases.ts'
import type { MatrixDriver } from './installation.ts'
import type { Outcome } from './record.ts'
import { Scene } from './scene.ts'

export interface MatrixOptions {
  readonly driver: MatrixDriver
  /** Left out: all. */
  readonly recipe?: string
  /** How they begin: `controller killed` is three. */
  readonly faults?: readonly string[]
  readonly step?: string
  /** How many serve at the least: with more than one, who is left can be cloned where otherwise all begins with a boot. */
  readonly least: number
  /** The kinds of clusters at the same time: where a case waits, and most of the time it does, another one goes on. */
  readonly beside: boolean
  /** As `keyOf` names them: they are not tried again. */
  readonly passed: ReadonlySet<string>
  readonly say: (line: string) => void
  readonly tried: (outcome: Outcome) => void
  /** Ends it before the next, in good order. */
  readonly signal?: AbortSignal
}

/** Cases in a row that broke their scene: something else is wrong then. */
const brokenMax = 4
/** Of a case whose operation ended before the fault could be done: on a machine that stands still for a while it is late by itself. */
const triesMax = 3
const kinds: readonly ClusterKind[] = ['golden', 'standby', 'live']

export async function matrix(options: MatrixOptions): Promise<void> {
  const all = recipeNames
    .filter(name => (options.recipe ?? name) === name && excluded(name, options.driver) === null)
    .flatMap(name => casesOf(name, options.least))
    .filter(
      ({ fault, step }) =>
        (options.faults ?? [fault]).some(one => fault.startsWith(one)) && (options.step ?? step) === step,
    )
  const inOrder = byBreadth(all, options.least, options.passed)
  options.say(`${inOrder.flat().length} cases`)
  const lane = async (kinds: readonly ClusterKind[]) => {
    const scenes = new Scenes(options)
    try {
      for (const cases of inOrder)
        for (const kind of kinds)
          for (const one of cases.filter(({ recipe }) => recipe.cluster === kind))
            if (!options.signal?.aborted) await scenes.one(one)
    } finally {
      await scenes.close()
    }
  }
  await Promise.all((options.beside ? kinds.map(kind => [kind]) : [kinds]).map(lane))
}

/** One of each kind, made when it is first wanted and kept, for its first machine has to boot; all but one have no controller meanwhile. */
class Scenes {
  readonly #options: MatrixOptions
  readonly #scenes = new Map<ClusterKind, Scene>()
  #broken = 0

  constructor(options: MatrixOptions) {
    this.#options = options
  }

  async one(what: Case): Promise<void> {
    const { cluster } = what.recipe
    for (const [kind, other] of this.#scenes) if (kind !== cluster) await other.leave()
    let scene: Scene | null = null
    try {
      scene = this.#scenes.get(cluster) ?? (await Scene.open({ ...this.#options, cluster }))
      this.#scenes.set(cluster, scene)
      let outcome = await scene.one(what)
      for (let tries = 1; outcome.early && tries < triesMax; tries++) {
        this.#options.say(`${keyOf(what)}: ended before it, ${outcome.code}; once more`)
        outcome = await scene.one(what)
      }
      this.#options.tried(outcome)
      this.#broken = 0
    } catch (error) {
      this.#options.tried(brokenOff(what, this.#options.driver, error as Error))
      this.#scenes.delete(cluster)
      await scene?.close()
      if (++this.#broken === brokenMax) throw error
    }
  }

  async close(): Promise<void> {
    for (const scene of this.#scenes.values()) await scene.close()
  }
}

const brokenOff = ({ name, step, fault }: Case, driver: MatrixDriver, error: Error): Outcome => ({
  ...{ at: new Date().toISOString(), driver, name, step, fault },
  ...{ victim: null, status: 'unknown', code: null, seconds: 0, answers: 0, excused: 0 },
  wrong: [`broken off: ${error.message}`],
})
