/**
 * What is told to Firecracker, in the order in which it must be: its command line, a cold boot, a restore. @pure
 *
 *   boot      machine-config, boot-source, drives, network, mmds, devices … then InstanceStart
 *   restore   snapshot/load and nothing before it: any configuration makes Firecracker refuse to load
 *
 * Everything of an instance is named relative to Firecracker's working directory, the instance's own. A snapshot holds the
 * paths of disks and cannot be told others, so a name that means another file in each directory is what keeps the disks apart.
 */

import type { Resources } from '../../config/config.ts'
import { TidegateError } from '../../errors.ts'
import { environmentName } from '../vm/environment.ts'
import type { GuestPorts } from '../vm/record.ts'

export interface Machine {
  readonly cpus: number
  /** What it booted with, and what it has now with what was plugged in or given up since, MiB. */
  readonly bootMib: number
  readonly memoryMib: number
  /** Size of the region that memory can be plugged into, MiB; 0: there is none. */
  readonly hotplugMib: number
  readonly balloon: boolean
  readonly disk: 'none' | 'own' | 'shared'
  readonly diskBytes: number
}

export interface Call {
  readonly method: 'PUT' | 'PATCH'
  readonly path: string
  readonly body: Readonly<Record<string, unknown>>
}

/** The device on the host, and the guest's address on it. */
export interface Tap {
  readonly name: string
  readonly guestMac: string
}

export interface BootPlan {
  readonly machine: Machine
  readonly kernel: string
  readonly initrd: string | null
  readonly append: string
  readonly tap: Tap
  readonly metadata: Readonly<Record<string, unknown>>
}

/** Names inside an instance's or a snapshot's directory. */
export const files = {
  socket: 'api.sock',
  memory: 'memory',
  state: 'state',
  disk: 'disk',
  /** Environment of the guest, with the agent's token. */
  env: environmentName,
  /** The console, and what Firecracker itself has to say. */
  log: 'log',
} as const

/** Firecracker's own limit is 50 KiB, which an environment may pass. */
export const apiBodyBytesMax = 1024 * 1024

const cpusMax = 32
const interfaceId = 'eth0'
const diskId = 'rootfs'
const mmdsAddress = '169.254.169.254'
/** Firecracker's default forbids kernel modules, which initial file systems live on. The keyboard is for SendCtrlAltDel. */
const bootArguments = 'console=ttyS0 reboot=k panic=1 quiet i8042.noaux i8042.nomux i8042.dumbkbd'
const slotMib = 128
const mib = 1024 * 1024

/** Errors only: it informs of every call, and warns of every port that a kernel looks for in vain. */
export const commandArguments = (name: string): readonly string[] => [
  ...['--api-sock', files.socket, '--id', name, '--level', 'Error'],
  ...['--http-api-max-payload-size', String(apiBodyBytesMax)],
]

/** Throws `template_invalid` for what Firecracker would refuse only after it was started. */
export function machineOf(
  resources: Resources,
  template: {
    readonly memoryMaxBytes: number | null
    readonly balloon: boolean
    readonly rootfs: string | null
    readonly rootfsReadOnly: boolean
  },
): Machine {
  const cpus = Math.max(1, Math.ceil(resources.cpus))
  const memoryMib = Math.ceil(resources.memoryBytes / mib)
  if (cpus > cpusMax) {
    const message = `instance.resources.cpus must be ${cpusMax} or fewer: Firecracker gives no more to a VM`
    throw new TidegateError('template_invalid', message, { details: { field: 'instance.resources.cpus' } })
  }
  const { memoryMaxBytes, balloon, rootfs, rootfsReadOnly } = template
  const above = memoryMaxBytes === null ? 0 : Math.max(0, memoryMaxBytes / mib - memoryMib)
  const hotplugMib = Math.ceil(above / slotMib) * slotMib
  const disk = rootfs === null ? 'none' : rootfsReadOnly ? 'shared' : 'own'
  const { diskBytes } = resources
  return { cpus, bootMib: memoryMib, memoryMib, hotplugMib, balloon, disk, diskBytes }
}

export function bootCalls(plan: BootPlan): readonly Call[] {
  const { machine, kernel, initrd, append, tap, metadata } = plan
  const calls: Call[] = [
    put('/machine-config', { vcpu_count: machine.cpus, mem_size_mib: machine.bootMib, smt: false }),
    put('/boot-source', {
      kernel_image_path: kernel,
      ...(initrd === null ? {} : { initrd_path: initrd }),
      boot_args: `${bootArguments} ${append}`.trim(),
    }),
  ]
  if (machine.disk !== 'none') {
    const drive = { drive_id: diskId, path_on_host: files.disk, is_root_device: true, cache_type: 'Unsafe' }
    calls.push(put(`/drives/${diskId}`, { ...drive, is_read_only: machine.disk === 'shared' }))
  }
  calls.push(
    put(`/network-interfaces/${interfaceId}`, {
      iface_id: interfaceId,
      host_dev_name: tap.name,
      guest_mac: tap.guestMac,
    }),
    put('/mmds/config', {
      version: 'V2',
      network_interfaces: [interfaceId],
      ipv4_address: mmdsAddress,
    }),
    put('/mmds', metadata),
    put('/entropy', {}),
  )
  if (machine.balloon) {
    const statistics = { deflate_on_oom: true, stats_polling_interval_s: 1 }
    calls.push(put('/balloon', { amount_mib: 0, ...statistics }))
  }
  if (machine.hotplugMib > 0) {
    calls.push(put('/hotplug/memory', { total_size_mib: machine.hotplugMib, slot_size_mib: slotMib }))
  }
  return [...calls, put('/actions', { action_type: 'InstanceStart' })]
}

/** `tap` is overridden always: what the snapshot holds is the name that its source's device had. */
export function loadCall(tap: Tap): Call {
  return put('/snapshot/load', {
    snapshot_path: files.state,
    mem_backend: { backend_type: 'File', backend_path: files.memory },
    network_overrides: [{ iface_id: interfaceId, host_dev_name: tap.name }],
    resume_vm: false,
  })
}

/** What the guest may ask for at `mmdsAddress`. It is not part of a snapshot, so a clone has to be told again. */
export const metadataCall = (metadata: Readonly<Record<string, unknown>>): Call => put('/mmds', metadata)

export const stateCall = (state: 'Paused' | 'Resumed'): Call => ({
  method: 'PATCH',
  path: '/vm',
  body: { state },
})

export const saveCall = (kind: 'Full' | 'Diff', statePath: string, memoryPath: string): Call =>
  put('/snapshot/create', { snapshot_type: kind, snapshot_path: statePath, mem_file_path: memoryPath })

export const keyboardCall: Call = put('/actions', { action_type: 'SendCtrlAltDel' })

export const hotplugCall = (requestedMib: number): Call => ({
  method: 'PATCH',
  path: '/hotplug/memory',
  body: { requested_size_mib: requestedMib },
})

export const balloonCall = (amountMib: number): Call => ({
  method: 'PATCH',
  path: '/balloon',
  body: { amount_mib: amountMib },
})

/** The environment twice: as lines that a shell reads, and by name. */
export const metadataOf = (
  env: string,
  name: string,
  ports: GuestPorts,
): Readonly<Record<string, unknown>> => ({
  tidegate: { env, instance: name, app_port: String(ports.app), agent_port: String(ports.agent) },
})

function put(path: string, body: Readonly<Record<string, unknown>>): Call {
  return { method: 'PUT', path, body }
}
