/**
 * `/metrics` in Prometheus' text format. The only importing file of `prom-client`, which knows the format and the process; our own
 * numbers are read from the counters and from control when somebody asks, and at no other time.
 */
import { readFileSync } from 'node:fs'
import { collectDefaultMetrics, type Metric, Registry } from 'prom-client'
import type { Observation } from '../proxy/observe/observation.ts'
import type { ScalingNumbers } from '../scaling/numbers.ts'
import type { MetricsText } from '../views.ts'
import { type Family, families, type Snapshot } from './families.ts'

export interface MetricSources {
  readonly version: string
  readonly observation: Observation
  /** What control knows of clusters and their backends. */
  clusters(): Snapshot['clusters']
  generation(): number
  certificates(): Snapshot['certificates']
  scaling?(): ScalingNumbers
}

export const packageVersion: string = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
).version

/** The row of what no cluster was found for. No cluster can have this id. */
const nobody = '-'

export class Metrics {
  readonly #sources: MetricSources
  readonly #registry = new Registry()
  #snapshot: Snapshot
  #under: Promise<MetricsText> | null = null

  constructor(sources: MetricSources) {
    this.#sources = sources
    this.#snapshot = {
      version: sources.version,
      generation: 0,
      rows: [],
      threads: [],
      clusters: [],
      certificates: [],
      scaling: null,
    }
    for (const family of families) this.#registry.registerMetric(this.#metric(family))
  }

  /** Who asks while an answer is being made gets that one. */
  text(): Promise<MetricsText> {
    this.#under ??= this.#make().finally(() => {
      this.#under = null
    })
    return this.#under
  }

  async #make(): Promise<MetricsText> {
    this.#snapshot = this.#look()
    let text = ''
    for (const { name } of families) {
      text += `${await this.#registry.getSingleMetricAsString(name)}\n\n`
      // With a thousand clusters each takes a while: who else has to do here does not wait for all of them.
      await turn()
    }
    text += await processRegistry().metrics()
    return { contentType: this.#registry.contentType, text }
  }

  #look(): Snapshot {
    const { version, observation } = this.#sources
    const { counters } = observation
    const named = [[nobody, 0] as const, ...observation.rows()]
    return {
      version,
      generation: this.#sources.generation(),
      rows: named.map(([cluster, row]) => ({ cluster, totals: counters.row(row) })),
      threads: Array.from({ length: counters.columns }, (_, thread) => ({
        thread,
        facts: counters.thread(thread),
      })),
      clusters: this.#sources.clusters(),
      certificates: this.#sources.certificates(),
      scaling: this.#sources.scaling?.() ?? null,
    }
  }

  /** The registry asks a metric for its values; ours have no state of their own. */
  #metric(family: Family): Metric {
    const { name, help, type } = family
    const metric = {
      name,
      help,
      type,
      aggregator: 'sum',
      get: async () => this.#read(family),
      reset: () => {},
    }
    return metric as unknown as Metric
  }

  #read(family: Family) {
    const { name, help, type } = family
    return { name, help, type, aggregator: 'sum', values: family.values(this.#snapshot) }
  }
}

const turn = () => new Promise<void>(resolve => setImmediate(resolve))

let ofProcess: Registry | null = null

/** Of the process there is one, however many Tidegates are in it; nothing watches it before somebody asks. */
function processRegistry(): Registry {
  if (ofProcess === null) {
    ofProcess = new Registry()
    collectDefaultMetrics({ register: ofProcess })
  }
  return ofProcess
}
