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
import type { RestoreMode } from './restore-mode.ts'
import { files, type Machine } from './vm-config.ts'

export interface Given {
  readonly cpus: number
  readonly memoryBytes: number
}

/** `shared`: its own file. `private`: copy-on-write on a snapshot's. `anonymous`: no file. */
export type MemoryKind = 'shared' | 'private' | 'anonymous'

export interface InstanceFacts extends VmFacts {
  readonly machine: Machine
  readonly guest: GuestPorts
  readonly memory: MemoryKind
  /** What `resize` gave it since. */
  readonly resized: Given | null
  /** The hypervisor that runs it. */
  readonly version: string
  readonly restored: RestoreMode | null
}

export interface SnapshotFacts extends VmSnapshotFacts {
  readonly machine: Machine
  readonly guest: GuestPorts
  readonly memoryIsFile: boolean
  /** What its source had, when it had been resized. */
  readonly resized: Given | null
  /** What wrote it: its Cloud Hypervisor and the CPU. */
  readonly maker: string
  /** By file name; a file that was not to be kept has none. */
  readonly checksums: Readonly<Record<string, string>>
}

export const machineFields = (machine: Machine, guest: GuestPorts): Fields => ({
  driver: 'cloud_hypervisor',
  cpus: machine.cpus,
  max_cpus: machine.cpusMax,
  memory_bytes: machine.memoryBytes,
  memory_extra_bytes: machine.memoryExtraBytes,
  memory_backing: machine.memoryBacking,
  disks: machine.disks,
  guest_app_port: guest.app,
  guest_agent_port: guest.agent,
})

export const addressFields = (app: Endpoint, agent: Endpoint): Fields => ({
  host: app.host,
  app_port: app.port,
  agent_port: agent.port,
})

export function instanceFacts(record: OwnerRecord): InstanceFacts {
  const { fields } = record
  const endpoint = (port: unknown): Endpoint | null =>
    typeof fields.host === 'string' && typeof port === 'number' ? { host: fields.host, port } : null
  return {
    ...shared(record),
    memory: fields.memory === 'private' || fields.memory === 'anonymous' ? fields.memory : 'shared',
    app: endpoint(fields.app_port),
    agent: endpoint(fields.agent_port),
    resized: given(fields.resized),
    version: String(fields.version ?? ''),
    snapshot: fields.memory === 'private' && typeof fields.snapshot === 'string' ? fields.snapshot : null,
    restored: typeof fields.restored === 'string' ? (fields.restored as RestoreMode) : null,
    process: readProcessKey(fields),
  }
}

export function snapshotFacts(record: OwnerRecord): SnapshotFacts {
  const { fields } = record
  const memoryIsFile = fields.memory_is_file === true
  return {
    ...shared(record),
    source: String(fields.source),
    memoryIsFile,
    resized: given(fields.resized),
    maker: String(fields.maker ?? 'unknown'),
    checksums: textsOf(fields.checksums),
    complete: fields.complete === true,
    bytes: typeof fields.bytes === 'number' ? fields.bytes : 0,
    boot: trustedIn(fields, memoryIsFile ? files.ram : files.ranges),
  }
}

export const givenFields = ({ cpus, memoryBytes }: Given): Fields => ({
  resized: { cpus, memory_bytes: memoryBytes },
})

function given(value: unknown): Given | null {
  const { cpus, memory_bytes: memoryBytes } = (value ?? {}) as Fields
  return typeof cpus === 'number' && typeof memoryBytes === 'number' ? { cpus, memoryBytes } : null
}

function shared({ name, fields }: OwnerRecord): { machine: Machine; guest: GuestPorts } {
  const { cpus, max_cpus: cpusMax, memory_bytes: memoryBytes, memory_extra_bytes: extra } = fields
  const { guest_app_port: app, guest_agent_port: agent, disks } = fields
  const numbers = [cpus, cpusMax, memoryBytes, extra, app, agent]
  const sound = numbers.every(value => typeof value === 'number') && Array.isArray(disks)
  if (fields.driver !== 'cloud_hypervisor' || !sound) {
    throw new TidegateError(
      'hypervisor_failed',
      `the record of ${name} is not one of the cloud_hypervisor driver`,
    )
  }
  const machine: Machine = {
    cpus: cpus as number,
    cpusMax: cpusMax as number,
    memoryBytes: memoryBytes as number,
    memoryExtraBytes: extra as number,
    memoryBacking: fields.memory_backing === 'anonymous' ? 'anonymous' : 'file',
    disks: disks as Machine['disks'],
  }
  return { machine, guest: { app: app as number, agent: agent as number } }
}
