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
  type VmFacts,
  type VmSnapshotFacts,
} from '../vm/record.ts'
import type { Machine } from './calls.ts'
import type { BinaryFacts, HostFacts } from './versions.ts'

export interface InstanceFacts extends VmFacts {
  readonly machine: Machine
  readonly guest: GuestPorts
  readonly sparseSnapshots: boolean
  /** Of the Firecracker that runs it, which an upgrade of the binary does not change. */
  readonly binary: BinaryFacts
  /** The read-only root file system that it shares; null when it has none or a copy. */
  readonly sharedDisk: string | null
  readonly outbound: boolean
}

export interface SnapshotFacts extends VmSnapshotFacts {
  readonly machine: Machine
  readonly guest: GuestPorts
  readonly sparseSnapshots: boolean
  readonly taken: BinaryFacts & HostFacts
  readonly sharedDisk: string | null
  readonly outbound: boolean
  /** By file name; a file that was not to be kept has none. */
  readonly checksums: Readonly<Record<string, string>>
}

export interface Shared {
  readonly machine: Machine
  readonly guest: GuestPorts
  readonly sparseSnapshots: boolean
  readonly sharedDisk: string | null
  readonly outbound: boolean
  readonly binary: BinaryFacts
}

export const sharedFields = (facts: Shared): Fields => ({
  ...machineFields(facts.machine),
  driver: 'firecracker',
  shared_disk: facts.sharedDisk,
  sparse_snapshots: facts.sparseSnapshots,
  outbound: facts.outbound,
  guest_app_port: facts.guest.app,
  guest_agent_port: facts.guest.agent,
  version: facts.binary.version,
  format: facts.binary.format,
})

export const machineFields = (machine: Machine): Fields => ({
  cpus: machine.cpus,
  boot_mib: machine.bootMib,
  memory_mib: machine.memoryMib,
  hotplug_mib: machine.hotplugMib,
  balloon: machine.balloon,
  disk: machine.disk,
  disk_bytes: machine.diskBytes,
})

export const hostFields = ({ cpu, kernel }: HostFacts): Fields => ({ host_cpu: cpu, host_kernel: kernel })

export const networkFields = (app: Endpoint, agent: Endpoint): Fields => ({ app, agent })

export function instanceFacts(record: OwnerRecord): InstanceFacts {
  const { fields } = record
  return {
    ...shared(record),
    snapshot: typeof fields.snapshot === 'string' ? fields.snapshot : null,
    app: endpoint(fields.app),
    agent: endpoint(fields.agent),
    process: readProcessKey(fields),
  }
}

export function snapshotFacts(record: OwnerRecord): SnapshotFacts {
  const { fields } = record
  const { binary, ...rest } = shared(record)
  return {
    ...rest,
    source: String(fields.source),
    taken: { ...binary, cpu: String(fields.host_cpu), kernel: String(fields.host_kernel) },
    complete: fields.complete === true,
    bytes: typeof fields.bytes === 'number' ? fields.bytes : 0,
    checksums: textsOf(fields.checksums),
    boot: null,
  }
}

function shared({ name, fields }: OwnerRecord): Shared {
  const { cpus, boot_mib: bootMib, memory_mib: memoryMib, hotplug_mib: hotplugMib } = fields
  const { disk_bytes: diskBytes, guest_app_port: app, guest_agent_port: agent } = fields
  const numbers = [cpus, bootMib, memoryMib, hotplugMib, app, agent, diskBytes]
  if (fields.driver !== 'firecracker' || !numbers.every(value => typeof value === 'number')) {
    throw new TidegateError('hypervisor_failed', `the record of ${name} is not one of the firecracker driver`)
  }
  const [cpu, boot, memory, hotplug, appPort, agentPort, bytes] = numbers as number[]
  const disk = fields.disk === 'own' || fields.disk === 'shared' ? fields.disk : 'none'
  return {
    machine: {
      ...{ cpus: cpu!, bootMib: boot!, memoryMib: memory!, hotplugMib: hotplug! },
      ...{ balloon: fields.balloon === true, disk, diskBytes: bytes! },
    },
    guest: { app: appPort!, agent: agentPort! },
    sparseSnapshots: fields.sparse_snapshots === true,
    sharedDisk: typeof fields.shared_disk === 'string' ? fields.shared_disk : null,
    outbound: fields.outbound === true,
    binary: { version: String(fields.version), format: String(fields.format) },
  }
}

function endpoint(value: unknown): Endpoint | null {
  if (typeof value !== 'object' || value === null) return null
  const { host, port } = value as Partial<Endpoint>
  return typeof host === 'string' && typeof port === 'number' ? { host, port } : null
}
