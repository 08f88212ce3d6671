/** What a stretch of load cost a subject: its processor time and its connections to the origin, for each piece of work. */
import { cpuBetween, cpuTime } from './proc.ts'
import type { OriginPorts, Sample } from './row.ts'

export interface Work {
  /** Requests, handshakes, messages: what the cost is divided by. */
  readonly pieces: number
  readonly seconds: number
  /** Further numbers of the round. */
  readonly more: Sample
}

/** Runs the load and charges the process's time to its pieces of work. */
export async function costOf(pid: number, origin: OriginPorts, load: () => Promise<Work>): Promise<Sample> {
  const connectionsBefore = (await origin.counts()).connections
  const before = cpuTime(pid)
  const { pieces, seconds, more } = await load()
  const { userMicros, systemMicros } = cpuBetween(before, cpuTime(pid))
  const opened = (await origin.counts()).connections - connectionsBefore
  return {
    pieces,
    per_second: pieces / seconds,
    cpu_us: (userMicros + systemMicros) / pieces,
    user_us: userMicros / pieces,
    busy: (userMicros + systemMicros) / (seconds * 1_000_000),
    origin_connections: opened,
    ...more,
  }
}
