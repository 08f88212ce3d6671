/** One round of load on one proxy: what the client saw, and what the proxy's process was charged for it. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { pin, type Running } from './subjects.ts'

export interface Round {
  readonly requestsPerSecond: number
  /** Of the proxy's process, user and kernel. */
  readonly cpuMicrosPerRequest: number
  readonly userMicrosPerRequest: number
  readonly p99Ms: number
  /** Answers that were not 2xx, and socket errors. */
  readonly errors: number
}

/** Linux counts a process's time in hundredths of a second. */
const tickMicros = 10_000

export async function measure(subject: Running, seconds: number, connections: number): Promise<Round> {
  const before = cpuMicros(subject.pid)
  const url = `http://127.0.0.1:${subject.port}/`
  const [program, ...args] = pin('others', [
    'wrk',
    '-t1',
    `-c${connections}`,
    `-d${seconds}s`,
    '--latency',
    url,
  ])
  const { stdout } = await promisify(execFile)(program!, args)
  const after = cpuMicros(subject.pid)
  const requests = Number(/(\d+) requests in/.exec(stdout)?.[1])
  const socketErrors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(stdout)
  const errors =
    Number(/Non-2xx or 3xx responses: (\d+)/.exec(stdout)?.[1] ?? 0) +
    (socketErrors?.slice(1).reduce((sum, n) => sum + Number(n), 0) ?? 0)
  const user = after.user - before.user
  return {
    requestsPerSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]),
    cpuMicrosPerRequest: (user + after.system - before.system) / requests,
    userMicrosPerRequest: user / requests,
    p99Ms: milliseconds(/99%\s+([\d.]+)(us|ms|s)/.exec(stdout)),
    errors,
  }
}

/** utime and stime of the process and of its children that have ended (proc(5), fields 14 to 17). */
function cpuMicros(pid: number): { user: number; system: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number)
  return { user: (fields[11]! + fields[13]!) * tickMicros, system: (fields[12]! + fields[14]!) * tickMicros }
}

function milliseconds(match: RegExpExecArray | null): number {
  if (!match) return Number.NaN
  const value = Number(match[1])
  return match[2] === 'us' ? value / 1_000 : match[2] === 's' ? value * 1_000 : value
}
