/**
 * A machine as QEMU must be told of it. What is in here must be equal in a snapshot and its clones, because a state is taken
 * only by a machine like the one that gave it: also what was added while it ran. @pure
 */
import { TidegateError } from '../../errors.ts'
import type { MachineKind, QemuTemplate } from './template.ts'

export type Accelerator = 'kvm' | 'tcg'

export interface Machine {
  readonly kind: MachineKind
  readonly accelerator: Accelerator
  /** At its boot, and what it can grow to while it runs. */
  readonly cpus: number
  readonly cpusMax: number
  readonly memoryBytes: number
  readonly memoryMaxBytes: number
  readonly outbound: boolean
  readonly added: Added
  /** Size of its disk; null without one. */
  readonly diskBytes: number | null
}

/** What was plugged in while it ran. */
export interface Added {
  readonly cpus: number
  /** In the order of their slots. Slots are filled from 0 and emptied from the end. */
  readonly dimmBytes: readonly number[]
}

export const nothingAdded: Added = Object.freeze({ cpus: 0, dimmBytes: [] })

const pageBytes = 4096
/** Linux on x86 adds memory by sections of this size. */
export const dimmUnitBytes = 128 * 1024 ** 2
export const dimmSlots = 16
export const cpusLimit = 64

export const wholePages = (bytes: number): number => Math.ceil(bytes / pageBytes) * pageBytes
export const wholeCpus = (cpus: number): number => Math.max(1, Math.ceil(cpus))

/** All of its memory, what was added included. */
export const memoryOf = ({ memoryBytes, added }: Machine): number =>
  added.dimmBytes.reduce((sum, bytes) => sum + bytes, memoryBytes)

export const dimmId = (slot: number): string => `dimm${slot}`
export const cpuId = (core: number): string => `cpu${core}`

type Wanted = { readonly cpus: number; readonly memoryBytes: number; readonly diskBytes: number }

/** The machine of a cold boot. Throws `template_invalid`. */
export function machineFor(
  resources: Wanted,
  template: QemuTemplate,
  accelerator: Accelerator,
  baseBytes: number,
): Machine {
  const cpus = wholeCpus(resources.cpus)
  const memoryBytes = wholePages(resources.memoryBytes)
  const cpusMax = template.cpusMax ?? Math.max(cpus, cpusMaxDefault)
  const memoryMaxBytes = template.memoryMaxBytes ?? memoryBytes * memoryMaxFactor
  if (cpus > cpusMax || cpusMax > cpusLimit) {
    throw wrong('cpus_max', `at least the instance's ${cpus} CPUs and at most ${cpusLimit}`)
  }
  if (memoryBytes > memoryMaxBytes) throw wrong('memory_max', "at least the instance's memory")
  const diskBytes = template.disk === null ? null : wholePages(resources.diskBytes)
  if (diskBytes !== null && (diskBytes === 0 || diskBytes < baseBytes)) {
    throw new TidegateError(
      'template_invalid',
      `instance.resources.disk must be at least ${Math.max(baseBytes, pageBytes)} bytes for a machine with this disk`,
      { details: { field: 'instance.resources.disk', needed_bytes: baseBytes } },
    )
  }
  const { machine: kind, outbound } = template
  const limits = { cpusMax, memoryMaxBytes: wholePages(memoryMaxBytes) }
  return { kind, accelerator, cpus, memoryBytes, ...limits, outbound, added: nothingAdded, diskBytes }
}

const cpusMaxDefault = 4
const memoryMaxFactor = 2

const wrong = (field: string, wanted: string): TidegateError =>
  new TidegateError('template_invalid', `instance.template.${field} must be ${wanted}`, {
    details: { field: `instance.template.${field}` },
  })
