/** What wrk and h2load print, as numbers. @pure */

export interface LoadReport {
  readonly requests: number
  readonly seconds: number
  readonly requestsPerSecond: number
  readonly p99Ms: number
  /** Answers that were not 2xx or 3xx, connections that failed, timeouts. */
  readonly errors: number
}

/** The report of `wrk --latency`. Throws with the text when it is something else. */
export function parseWrk(text: string): LoadReport {
  const total = /(\d+) requests in ([\d.]+)(us|ms|s|m|h),/.exec(text)
  const rate = /Requests\/sec:\s+([\d.]+)/.exec(text)
  if (!total || !rate) throw new Error(`this is no report of wrk:\n${text}`)
  const socketErrors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text)
  const refused = Number(/Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1] ?? 0)
  const broken = socketErrors?.slice(1).reduce((sum, count) => sum + Number(count), 0) ?? 0
  return {
    requests: Number(total[1]),
    seconds: milliseconds(total[2], total[3]) / 1_000,
    requestsPerSecond: Number(rate[1]),
    p99Ms: time(/99%\s+([\d.]+)(us|ms|s|m)/.exec(text)),
    errors: refused + broken,
  }
}

/** The report of h2load. It tells no percentiles; the slowest request stands in for them. */
export function parseH2load(text: string): LoadReport {
  const finished = /finished in ([\d.]+)(us|ms|s|m|h), ([\d.]+) req\/s/.exec(text)
  const requests =
    /requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/.exec(
      text,
    )
  if (!finished || !requests) throw new Error(`this is no report of h2load:\n${text}`)
  const [done, succeeded] = [Number(requests[1]), Number(requests[2])]
  const slowest = /time for request:\s+[\d.]+\w+\s+([\d.]+)(us|ms|s|m)/.exec(text)
  const statuses = /status codes: (\d+) 2xx, (\d+) 3xx/.exec(text)
  const answeredWell = statuses ? Number(statuses[1]) + Number(statuses[2]) : succeeded
  return {
    requests: done,
    seconds: milliseconds(finished[1], finished[2]) / 1_000,
    requestsPerSecond: Number(finished[3]),
    p99Ms: time(slowest),
    errors: Number(requests[3]) + Number(requests[5]) + Math.max(0, succeeded - answeredWell),
  }
}

const unitsMs: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }

function time(match: RegExpExecArray | null): number {
  return match ? milliseconds(match[1], match[2]) : Number.NaN
}

function milliseconds(value: string | undefined, unit: string | undefined): number {
  return Number(value) * (unitsMs[unit ?? ''] ?? Number.NaN)
}
