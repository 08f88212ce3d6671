/**
 * What is to be done to give a machine other resources, or the refusal, before anything is done. @pure
 * Memory goes in and out by modules of whole units: what is asked for is rounded up to them.
 */
import type { Resources } from '../../config/config.ts'
import { TidegateError } from '../../errors.ts'
import { type Added, dimmSlots, dimmUnitBytes, type Machine, wholeCpus, wholePages } from './machine.ts'

export interface ResizePlan {
  readonly now: Added
  /** How many processors the guest is to use, and how many must be plugged in for it. */
  readonly cpus: number
  readonly addCpus: number
  readonly addMemoryBytes: number
  /** Modules that stay; those after them are pulled out. */
  readonly keepDimms: number
  /** Null: it has this size already, or it has none and gets none. */
  readonly diskBytes: number | null
  /** That disk is to be plugged in: it has none. */
  readonly plugDisk: boolean
  readonly result: Resources
}

/**
 * `countedDiskBytes`: what it was made with as `resources.disk`, which for a machine without a disk is only counted; null where no
 * record says. Throws `resize_unsupported` that names what cannot be and what can.
 */
export function planResize(
  name: string,
  machine: Machine,
  now: Added,
  wanted: Resources,
  countedDiskBytes: number | null,
): ResizePlan {
  const cpus = wholeCpus(wanted.cpus)
  if (cpus > machine.cpusMax) {
    throw refused(name, `at most ${machine.cpusMax} CPUs (instance.template.cpus_max)`)
  }
  const memory = planMemory(name, machine, now, wholePages(wanted.memoryBytes))
  const { diskBytes } = machine
  const disk = wholePages(wanted.diskBytes)
  if (diskBytes !== null && disk < diskBytes) {
    throw refused(name, `a disk of at least its ${diskBytes} bytes: disks only grow`)
  }
  const plugDisk = diskBytes === null && countedDiskBytes !== null && wanted.diskBytes !== countedDiskBytes
  if (plugDisk) mayPlug(name, machine, wanted.diskBytes, countedDiskBytes)
  return {
    now,
    cpus,
    addCpus: Math.max(0, cpus - machine.cpus - now.cpus),
    addMemoryBytes: memory.add,
    keepDimms: memory.keep,
    diskBytes: plugDisk || (diskBytes !== null && disk > diskBytes) ? disk : null,
    plugDisk,
    result: {
      cpus,
      memoryBytes: memory.bytes,
      diskBytes: diskBytes === null && !plugDisk ? wanted.diskBytes : disk,
    },
  }
}

function planMemory(name: string, machine: Machine, now: Added, wanted: number) {
  const { memoryBytes: boot, memoryMaxBytes } = machine
  const mib = (bytes: number) => `${Math.ceil(bytes / 1024 ** 2)}MiB`
  if (wanted > memoryMaxBytes) {
    throw refused(name, `at most ${mib(memoryMaxBytes)} of memory (instance.template.memory_max)`)
  }
  let bytes = boot
  let keep = 0
  while (bytes < wanted && keep < now.dimmBytes.length) bytes += now.dimmBytes[keep++]!
  const missing = wanted - bytes
  if (missing > 0) {
    const add = Math.ceil(missing / dimmUnitBytes) * dimmUnitBytes
    if (bytes + add > memoryMaxBytes || keep >= dimmSlots) {
      throw refused(
        name,
        `${mib(bytes)}, or more in steps of ${mib(dimmUnitBytes)} up to ${mib(memoryMaxBytes)}`,
      )
    }
    return { add, keep, bytes: bytes + add }
  }
  if (-missing >= dimmUnitBytes) {
    throw refused(
      name,
      `${mib(bytes)} of memory and not ${mib(wanted)}: only whole modules that were added can leave`,
    )
  }
  return { add: 0, keep, bytes }
}

/** Into a machine that was made without one. `counted` is what it takes of its node already, so that less than that was hardly meant. */
function mayPlug(name: string, { kind }: Machine, wanted: number, counted: number): void {
  const details = { field: 'resources.disk', disk_bytes: counted }
  if (wanted < counted) {
    throw new TidegateError(
      'resize_unsupported',
      `${name} was made without a disk and is counted with ${counted} bytes: ask for that (no disk), or for more (a disk of that size is plugged in)`,
      { details },
    )
  }
  if (kind === 'pc') return
  throw new TidegateError(
    'resize_unsupported',
    `${name} was made without a disk, and its machine (${kind}) has no free place to plug one in: set \`instance.template.disk\` and replace it`,
    { details },
  )
}

const refused = (name: string, can: string): TidegateError =>
  new TidegateError(
    'resize_unsupported',
    `while it runs ${name} can have ${can}; replace it for other resources`,
  )
