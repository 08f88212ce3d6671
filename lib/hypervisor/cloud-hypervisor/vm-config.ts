/**
 * The machine as Cloud Hypervisor is told it (`VmConfig` of its OpenAPI document), and the names of its files. @pure
 * Names are relative to the instance's directory, which is the hypervisor's working directory: so a snapshot's
 * configuration names no place, and no socket's path can be too long.
 *
 * The memory is one zone in a file of ours, mapped shared: what the guest writes is in the file, so a paused VM's memory
 * can be copied by reference, and a clone maps the copy privately (copy on write), with every version.
 */
import { environmentName } from '../vm/environment.ts'
import type { DiskTemplate } from './template.ts'

export interface Machine {
  readonly cpus: number
  readonly cpusMax: number
  readonly memoryBytes: number
  /** What may be plugged in on top while it runs. */
  readonly memoryExtraBytes: number
  readonly memoryBacking: 'file' | 'anonymous'
  readonly disks: readonly { readonly readonly: boolean; readonly path: string | null }[]
}

/** Names inside an instance's or a snapshot's directory. */
export const files = {
  ram: 'ram',
  config: 'config.json',
  state: 'state.json',
  /** What Cloud Hypervisor writes of memory that is in no file of ours. */
  ranges: 'memory-ranges',
  /** Where a snapshot is written to, and what a clone is restored from. */
  saved: 'saved',
  /** Environment of the guest, with the agent's token. */
  env: environmentName,
  initramfs: 'initramfs',
  socket: 'api.sock',
  events: 'events.json',
  serial: 'serial.log',
  log: 'vmm.log',
} as const

export const diskFile = (index: number): string => `disk-${index}.raw`
export const zoneId = 'mem0'
export const netId = 'net0'
export const diskId = (index: number): string => `disk${index}`

export const pageBytes = 4096
/** The step of memory that is plugged in (virtio-mem blocks as Cloud Hypervisor makes them). */
export const memoryStepBytes = 128 * 1024 * 1024

export type Json = Record<string, unknown>

export interface Nic {
  readonly tap: string
  /** Null: Cloud Hypervisor makes one up. */
  readonly mac: string | null
}

/** For `vm.create`. */
export function coldConfig(
  machine: Machine,
  boot: { readonly kernel: string; readonly append: string },
  nic: Nic,
): Json {
  const cmdline = `console=ttyS0 quiet panic=-1 ${boot.append}`.trim()
  return {
    payload: { kernel: boot.kernel, initramfs: files.initramfs, cmdline },
    cpus: { boot_vcpus: machine.cpus, max_vcpus: machine.cpusMax },
    memory: memory(machine),
    ...(machine.disks.length > 0 ? { disks: machine.disks.map(disk) } : {}),
    net: [{ id: netId, tap: nic.tap, ...(nic.mac === null ? {} : { mac: nic.mac }) }],
    rng: { src: '/dev/urandom' },
    serial: { mode: 'File', file: files.serial },
    console: { mode: 'Off' },
  }
}

function memory({ memoryBytes, memoryExtraBytes, memoryBacking }: Machine): Json {
  const hotplug = memoryExtraBytes > 0 ? { hotplug_size: memoryExtraBytes } : {}
  const method = memoryExtraBytes > 0 ? { hotplug_method: 'VirtioMem' } : {}
  if (memoryBacking === 'anonymous') return { size: memoryBytes, ...method, ...hotplug }
  const zone = { id: zoneId, size: memoryBytes, file: files.ram, shared: true, ...hotplug }
  return { size: 0, ...method, zones: [zone] }
}

/** `image_type` is said: with one that it guesses, Cloud Hypervisor refuses writes to the first sector. */
function disk({ readonly, path }: Machine['disks'][number], index: number): Json {
  return { id: diskId(index), path: path ?? diskFile(index), readonly, image_type: 'Raw' }
}

/** Disks of a machine: read-only ones where they are, others by our own name for the copy. */
export const machineDisks = (disks: readonly DiskTemplate[]): Machine['disks'] =>
  disks.map(({ path, readonly }) => ({ readonly, path: readonly ? path : null }))
