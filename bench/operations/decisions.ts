/** How long it takes from a decision to scale until something is done about it. */
import type { Server } from '../../lib/server.ts'
import { clusterIds, ended, type Installation, operate } from './world.ts'

/** Milliseconds from the decision on. */
export interface Decision {
  /** The operation is in the store, and whoever asked has its id. */
  readonly journaledMs: number
  /** The first step is in the journal as begun, and runs. */
  readonly startedMs: number
  /** A hypervisor is told to do something: after what was planned was written step by step. */
  readonly actedMs: number
}

const acts = ['snapshot:before', 'stop:before']

/** One more, one less, in each cluster in turn; one at a time. */
export async function decide(
  server: Server,
  world: Installation,
  count: number,
): Promise<readonly Decision[]> {
  const clusters = clusterIds(world.size)
  const decisions: Decision[] = []
  for (let n = 0; n < count; n++) {
    const cluster = clusters[n % clusters.length]!
    const more = Math.floor(n / clusters.length) % 2 === 0
    decisions.push(await one(server, world, cluster, world.size.instances + (more ? 1 : 0)))
  }
  return decisions
}

async function one(
  { control }: Server,
  world: Installation,
  cluster: string,
  target: number,
): Promise<Decision> {
  let startedMs = Number.NaN
  let actedMs = Number.NaN
  const decidedMs = performance.now()
  const stop = control.subscribe(({ event }) => {
    if (
      event.type === 'operation_step' &&
      event.cluster === cluster &&
      event.status === 'started' &&
      !(startedMs > 0)
    )
      startedMs = performance.now() - decidedMs
  })
  world.fault = point => {
    if (acts.includes(point) && !(actedMs > 0)) actedMs = performance.now() - decidedMs
    return null
  }
  const id = await operate(control, cluster, target)
  const journaledMs = performance.now() - decidedMs
  await ended(control, id)
  stop()
  return { journaledMs, startedMs, actedMs }
}
