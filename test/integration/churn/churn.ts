/**
 * Churn: a whole Tidegate whose clusters are scaled, replaced, resized, moved between their nodes and shot at in an order that follows from a seed,
 * while clients with sessions and WebSockets ask half of what the machine can do. At the end it is counted what they saw and what is left behind.
 */
import { type Log, silentLog } from '../../../lib/log.ts'
import { type Server, startServer } from '../../../lib/server.ts'
import { until } from '../../support/wait.ts'
import { ClusterChurn, type ClusterOptions, type ClusterReport } from './cluster-churn.ts'
import { install } from './installation.ts'
import { held, leftovers } from './leftovers.ts'
import { Standstills } from './standstills.ts'

export interface ChurnOptions {
  readonly seed: number
  /** Actions are begun for so long. */
  readonly seconds: number
  readonly clusters: readonly ClusterOptions[]
  readonly say?: (line: string) => void
  /** Of the Tidegate that is churned. */
  readonly log?: Log
  /** Ends it early, and in good order. */
  readonly signal?: AbortSignal
}

export interface ChurnReport {
  /** Everything that is wrong, in words. */
  readonly faults: readonly string[]
  readonly seconds: number
  /** Times in which this process could not run, in all. */
  readonly standstillSeconds: number
  readonly requests: number
  readonly ratePerSecond: number
  /** What the machine could do at the start, all of it in use; null: it was not asked. */
  readonly capacityPerSecond: number | null
  /** The rate as a part of it. */
  readonly shareOfCapacity: number | null
  /** Of all clusters. */
  readonly actions: Readonly<Record<string, number>>
  readonly clusters: Readonly<Record<string, ClusterReport>>
}

const calibrationMs = 8_000
const share = 0.5

export async function churn(options: ChurnOptions): Promise<ChurnReport> {
  const installation = await install(...options.clusters)
  const standstills = new Standstills()
  let server: Server | null = null
  let clusters: readonly ClusterChurn[] = []
  try {
    const { config } = installation
    const running = await startServer(config, { log: options.log ?? silentLog })
    server = running
    clusters = options.clusters.map(
      (one, i) => new ClusterChurn(running, one, around(options, i, standstills)),
    )
    await together(clusters.map(one => one.serves()))
    await together(clusters.map(one => one.begin()))
    const capacityPerSecond = await measured(clusters)
    const spent = await act(options, clusters, capacityPerSecond)
    standstills.stop()
    const faults: string[] = []
    const reports: Record<string, ClusterReport> = {}
    for (const one of clusters) reports[one.options.id] = await one.end(faults)
    const left = await quiet(server, config)
    await server.close({ graceMs: 0 })
    await installation.remove()
    const remaining = await held(config, [])
    faults.push(...[...left, ...remaining].map(what => `left: ${what}`))
    return summary(faults, reports, { ...spent, capacityPerSecond, standstills })
  } finally {
    standstills.stop()
    for (const one of clusters) one.kill()
    await server?.close({ graceMs: 0 })
    await installation.remove()
  }
}

/** Each cluster has its own chance, and its name before what is said of it where there are several. */
function around({ seed, clusters, say = () => {} }: ChurnOptions, i: number, standstills: Standstills) {
  const name = clusters.length === 1 ? '' : `${clusters[i]!.id} `
  return { seed: (seed + i) >>> 0, standstills, say: (line: string) => say(name + line) }
}

/** Of the cluster that has no rate of its own, while the others have theirs. */
async function measured(clusters: readonly ClusterChurn[]): Promise<number | null> {
  const free = clusters.find(({ options }) => options.rate === null)
  if (free === undefined) return null
  return (await free.capacity(calibrationMs)) + given(clusters)
}

const given = (clusters: readonly ClusterChurn[]): number =>
  clusters.reduce((sum, { options }) => sum + (options.rate ?? 0), 0)

async function act(options: ChurnOptions, clusters: readonly ClusterChurn[], capacity: number | null) {
  const rest = (capacity ?? 0) * share - given(clusters)
  for (const { options: one } of clusters)
    options.say?.(`${one.id}: ${Math.round(one.rate ?? rest)} requests a second`)
  const startedAtMs = performance.now()
  const failed = new AbortController()
  const signal = AbortSignal.any([failed.signal, ...(options.signal ? [options.signal] : [])])
  const span = { endsMs: startedAtMs + options.seconds * 1_000, signal }
  await together(
    clusters.map(one =>
      one.churn(one.options.rate ?? rest, span).catch(error => {
        failed.abort()
        throw error
      }),
    ),
  )
  return { seconds: (performance.now() - startedAtMs) / 1_000 }
}

/** All of them have ended when this does: who is torn down in the middle would only hide the first fault. */
async function together(all: readonly Promise<void>[]): Promise<void> {
  for (const one of await Promise.allSettled(all)) if (one.status === 'rejected') throw one.reason
}

/** What is left when sessions had the time to end and reconcile has been round. */
async function quiet(server: Server, config: Parameters<typeof leftovers>[1]): Promise<readonly string[]> {
  let left: readonly string[] = []
  const clean = async () => {
    left = await leftovers(server, config)
    return left.length === 0
  }
  await until('nothing is left behind', clean, 60_000).catch(() => {})
  return left
}

function summary(
  faults: readonly string[],
  clusters: Readonly<Record<string, ClusterReport>>,
  run: {
    readonly seconds: number
    readonly capacityPerSecond: number | null
    readonly standstills: Standstills
  },
): ChurnReport {
  const { seconds, capacityPerSecond, standstills } = run
  const all = Object.values(clusters)
  const ratePerSecond = all.reduce((sum, one) => sum + one.ratePerSecond, 0)
  const actions: Record<string, number> = {}
  for (const one of all)
    for (const [kind, count] of Object.entries(one.actions)) actions[kind] = (actions[kind] ?? 0) + count
  return {
    ...{ faults, seconds },
    standstillSeconds: standstills.seen.reduce((sum, { fromMs, toMs }) => sum + (toMs - fromMs) / 1_000, 0),
    requests: all.reduce((sum, { requests }) => sum + requests, 0),
    ...{ ratePerSecond, capacityPerSecond },
    shareOfCapacity: capacityPerSecond === null ? null : ratePerSecond / capacityPerSecond,
    ...{ actions, clusters },
  }
}
