/**
 * What this driver writes into the owner records of its instances and snapshots, and reads back. @pure
 * Plain JSON in snake_case. A record that is not as written here is not ours to act on.
 */
import { TidegateError } from '../../errors.ts'
import type { OwnerRecord } from '../ownership.ts'
import type { ProcessKey } from '../process/proc.ts'
import type { Accelerator, Machine } from './command-line.ts'
import type { MachineKind } from './template.ts'

/** Ports inside the guest, which a clone inherits with its memory. */
export interface GuestPorts {
  readonly app: number
  readonly agent: number
}

export interface InstanceFacts {
  readonly machine: Machine
  readonly guest: GuestPorts
  /** `shared`: its memory is its own file. `private`: copy-on-write on a snapshot's file. */
  readonly memory: 'shared' | 'private'
  readonly appPort: number | null
  readonly agentPort: number | null
  readonly process: ProcessKey | null
  /** Whose files its memory rests on; null: nobody's. */
  readonly snapshot: string | null
}

export interface SnapshotFacts {
  readonly source: string
  readonly machine: Machine
  readonly guest: GuestPorts
  readonly complete: boolean
  readonly bytes: number
  /** The boot in which it was written: its files are not forced to the disk, so no later boot trusts them. */
  readonly boot: string
  /** What wrote it: its QEMU and, where the guest sees it, the CPU. Null: an older Tidegate, which did not say. */
  readonly maker: string | null
  /** By file name; a file that was not to be kept has none. */
  readonly checksums: Readonly<Record<string, string>>
}

type Fields = Record<string, unknown>

export const machineFields = (machine: Machine, guest: GuestPorts): Fields => ({
  driver: 'qemu',
  machine: machine.kind,
  accelerator: machine.accelerator,
  cpus: machine.cpus,
  memory_bytes: machine.memoryBytes,
  outbound: machine.outbound,
  guest_app_port: guest.app,
  guest_agent_port: guest.agent,
})

export const processFields = (key: ProcessKey): Fields => ({
  pid: key.pid,
  started: key.started,
  boot: key.boot,
})

export function instanceFacts(record: OwnerRecord): InstanceFacts {
  const { fields } = record
  return {
    ...shared(record),
    memory: fields.memory === 'private' ? 'private' : 'shared',
    appPort: numberOrNull(fields.app_port),
    agentPort: numberOrNull(fields.agent_port),
    process:
      typeof fields.pid === 'number'
        ? { pid: fields.pid, started: String(fields.started), boot: String(fields.boot) }
        : null,
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
    boot: String(fields.boot),
    maker: typeof fields.maker === 'string' ? fields.maker : null,
    checksums: textsOf(fields.checksums),
  }
}

function textsOf(value: unknown): Readonly<Record<string, string>> {
  if (typeof value !== 'object' || value === null) return {}
  return Object.fromEntries(Object.entries(value).filter(([, text]) => typeof text === 'string'))
}

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
  }
  return { machine, guest: { app: app as number, agent: agent as number } }
}

const numberOrNull = (value: unknown): number | null => (typeof value === 'number' ? value : null)
