/**
 * What this driver writes into the owner records of its instances and snapshots, and reads back. @pure
 * Plain JSON in snake_case. A record that is not as written here is not ours to act on.
 */
import { TidegateError } from '../../errors.ts'
import type { Endpoint } from '../driver.ts'
import type { OwnerRecord } from '../ownership.ts'
import {
  type Fields,
  type GuestPorts,
  readProcessKey,
  textsOf,
  trustedIn,
  type VmFacts,
  type VmSnapshotFacts,
} from '../vm/record.ts'
import { files } from './command-line.ts'
import { type Accelerator, type Machine, nothingAdded } from './machine.ts'
import type { MachineKind } from './template.ts'

export interface InstanceFacts extends VmFacts {
  readonly machine: Machine
  readonly guest: GuestPorts
  /** `shared`: its memory is its own file. `private`: copy-on-write on a snapshot's file. `anonymous`: in no file. */
  readonly memory: 'shared' | 'private' | 'anonymous'
  /** What it was made with as `resources.disk`, counted also where it has no disk. Null: an older Tidegate, which did not say. */
  readonly countedDiskBytes: number | null
}

export interface SnapshotFacts extends VmSnapshotFacts {
  readonly machine: Machine
  readonly guest: GuestPorts
  /** The image, with all under it, that clones put theirs on; null without a disk. */
  readonly disk: string | null
  /** What wrote it: its QEMU and, where the guest sees it, the CPU. Null: an older Tidegate, which did not say. */
  readonly maker: string | null
  /** By file name; a file that was not to be kept has none. */
  readonly checksums: Readonly<Record<string, string>>
}

export const machineFields = (machine: Machine, guest: GuestPorts): Fields => ({
  driver: 'qemu',
  machine: machine.kind,
  accelerator: machine.accelerator,
  cpus: machine.cpus,
  memory_bytes: machine.memoryBytes,
  outbound: machine.outbound,
  cpus_max: machine.cpusMax,
  memory_max_bytes: machine.memoryMaxBytes,
  added: { cpus: machine.added.cpus, dimm_bytes: machine.added.dimmBytes },
  disk_bytes: machine.diskBytes,
  guest_app_port: guest.app,
  guest_agent_port: guest.agent,
})

export function instanceFacts(record: OwnerRecord): InstanceFacts {
  const { fields } = record
  return {
    ...shared(record),
    memory: fields.memory === 'private' || fields.memory === 'anonymous' ? fields.memory : 'shared',
    countedDiskBytes: numberOrNull(fields.counted_disk_bytes),
    app: endpoint(fields.host, fields.app_port),
    agent: endpoint(fields.host, fields.agent_port),
    process: readProcessKey(fields),
    snapshot: fields.memory === 'private' && typeof fields.snapshot === 'string' ? fields.snapshot : null,
  }
}

export function snapshotFacts(record: OwnerRecord): SnapshotFacts {
  const { fields } = record
  return {
    ...shared(record),
    source: String(fields.source),
    complete: fields.complete === true,
    bytes: numberOrNull(fields.bytes) ?? 0,
    boot: trustedIn(fields, files.ram),
    disk: typeof fields.disk === 'string' ? fields.disk : null,
    maker: typeof fields.maker === 'string' ? fields.maker : null,
    checksums: textsOf(fields.checksums),
  }
}

const endpoint = (host: unknown, port: unknown): Endpoint | null =>
  typeof port === 'number' ? { host: typeof host === 'string' ? host : '127.0.0.1', port } : null

function shared({ name, fields }: OwnerRecord): { machine: Machine; guest: GuestPorts } {
  const { cpus, memory_bytes: memoryBytes, guest_app_port: app, guest_agent_port: agent } = fields
  const numbers = [cpus, memoryBytes, app, agent]
  if (fields.driver !== 'qemu' || !numbers.every(value => typeof value === 'number')) {
    throw new TidegateError('hypervisor_failed', `the record of ${name} is not one of the qemu driver`)
  }
  const machine: Machine = {
    kind: fields.machine as MachineKind,
    accelerator: fields.accelerator as Accelerator,
    cpus: cpus as number,
    memoryBytes: memoryBytes as number,
    outbound: fields.outbound === true,
    cpusMax: numberOrNull(fields.cpus_max) ?? (cpus as number),
    memoryMaxBytes: numberOrNull(fields.memory_max_bytes) ?? (memoryBytes as number),
    added: readAdded(fields.added),
    diskBytes: numberOrNull(fields.disk_bytes),
  }
  return { machine, guest: { app: app as number, agent: agent as number } }
}

function readAdded(value: unknown): Machine['added'] {
  if (typeof value !== 'object' || value === null) return nothingAdded
  const { cpus, dimm_bytes: dimmBytes } = value as Fields
  const sizes = Array.isArray(dimmBytes) ? dimmBytes.filter(bytes => typeof bytes === 'number') : []
  return { cpus: numberOrNull(cpus) ?? 0, dimmBytes: sizes }
}

const numberOrNull = (value: unknown): number | null => (typeof value === 'number' ? value : null)
