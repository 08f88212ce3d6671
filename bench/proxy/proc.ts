/** What Linux tells of a process and its descendants: processor time, memory, the time of each thread. */
import { readdirSync, readFileSync } from 'node:fs'

export interface CpuTime {
  readonly userMicros: number
  readonly systemMicros: number
}

/** Linux counts a process's time in hundredths of a second. */
const tickMicros = 10_000

/** User and system time of the process, its living descendants, and their children that ended (proc(5), fields 14 to 17). */
export function cpuTime(pid: number): CpuTime {
  let user = 0
  let system = 0
  for (const member of tree(pid)) {
    const fields = statFields(`/proc/${member}/stat`)
    user += (fields[11] ?? 0) + (fields[13] ?? 0)
    system += (fields[12] ?? 0) + (fields[14] ?? 0)
  }
  return { userMicros: user * tickMicros, systemMicros: system * tickMicros }
}

export function cpuBetween(before: CpuTime, after: CpuTime): CpuTime {
  return {
    userMicros: after.userMicros - before.userMicros,
    systemMicros: after.systemMicros - before.systemMicros,
  }
}

/** Memory that the tree would give back if it ended: its own pages and its part of shared ones. */
export function memoryBytes(pid: number): number {
  let kibibytes = 0
  for (const member of tree(pid)) {
    const text = read(`/proc/${member}/smaps_rollup`)
    kibibytes += Number(/^Pss:\s+(\d+) kB/m.exec(text)?.[1] ?? 0)
  }
  return kibibytes * 1_024
}

/** How many files this user may have open in one process. */
export function openFilesMax(): number {
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(read('/proc/self/limits'))?.[1]
  return hard === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hard ?? Number.NaN)
}

/** The process and all below it. */
function tree(pid: number): readonly number[] {
  const children = tasks(pid).flatMap(task =>
    read(`/proc/${pid}/task/${task}/children`).split(' ').filter(Boolean).map(Number),
  )
  return [pid, ...children.flatMap(tree)]
}

function tasks(pid: number): readonly string[] {
  try {
    return readdirSync(`/proc/${pid}/task`)
  } catch {
    return []
  }
}

/** The fields after the command's name, which may hold blanks itself: index 0 is field 3. */
function statFields(path: string): readonly number[] {
  const stat = read(path)
  return stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number)
}

/** Empty when it is gone: processes end while they are looked at. */
function read(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}
