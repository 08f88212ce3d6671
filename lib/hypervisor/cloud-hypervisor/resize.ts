/**
 * Gives a running VM other resources: CPUs by hotplug, memory by virtio-mem, its first own disk by growing it.
 *
 * What cannot be given is refused before anything changes. Cloud Hypervisor notes a new size whether the guest follows or
 * not, so memory is believed only when the guest has plugged it in, and CPUs taken away when it has let go of them; what
 * was done before a failure is undone, last first. A disk is only grown, and never shrunk again: it is done last.
 */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../clock.ts'
import type { Resources } from '../../config/config.ts'
import { TidegateError } from '../../errors.ts'
import type { CloudHypervisorApi } from './api.ts'
import { diskFile, diskId, type Json, type Machine, memoryStepBytes, zoneId } from './vm-config.ts'

export interface ResizeRequest {
  readonly directory: string
  readonly machine: Machine
  readonly resources: Resources
  readonly signal: AbortSignal
}

interface Step {
  readonly act: () => Promise<void>
  readonly undo: () => Promise<void>
}

const commandTimeoutMs = 10_000
/** How long a guest may take to plug memory in or let go of CPUs. */
const guestTimeoutMs = 10_000
const pollMs = 20

/** Returns what the VM has now. */
export async function resizeVm(
  api: CloudHypervisorApi,
  request: ResizeRequest,
  clock: Clock,
): Promise<Resources> {
  const { machine, signal } = request
  const info = await api.info({ timeoutMs: commandTimeoutMs, signal })
  if (info?.state !== 'Running') throw unsupported('it does not run; resume it first')
  const now = { cpus: cpusOf(info.config) ?? machine.cpus, extraBytes: pluggedOf(info.config) }
  const wanted = { cpus: wantedCpus(request), extraBytes: wantedExtra(request) }
  const disk = await wantedDisk(request)
  const vm = new Resizer(api, machine, clock)
  const steps: Step[] = []
  if (wanted.cpus !== now.cpus) {
    steps.push({ act: () => vm.cpus(wanted.cpus, signal), undo: () => vm.cpus(now.cpus) })
  }
  if (wanted.extraBytes !== now.extraBytes) {
    steps.push({ act: () => vm.extra(wanted.extraBytes, signal), undo: () => vm.extra(now.extraBytes) })
  }
  if (disk !== null && disk.from < disk.to) {
    steps.push({ act: () => vm.disk(disk.index, disk.to, signal), undo: async () => {} })
  }
  await allOrNone(steps)
  const diskBytes = disk?.to ?? request.resources.diskBytes
  return { cpus: wanted.cpus, memoryBytes: machine.memoryBytes + wanted.extraBytes, diskBytes }
}

async function allOrNone(steps: readonly Step[]): Promise<void> {
  const begun: Step[] = []
  try {
    for (const step of steps) {
      // Also a step that failed may have done a part.
      begun.push(step)
      await step.act()
    }
  } catch (error) {
    for (const { undo } of begun.reverse()) await undo().catch(() => {})
    throw error
  }
}

class Resizer {
  readonly #api: CloudHypervisorApi
  readonly #machine: Machine
  readonly #clock: Clock

  constructor(api: CloudHypervisorApi, machine: Machine, clock: Clock) {
    this.#api = api
    this.#machine = machine
    this.#clock = clock
  }

  /** Said again until no removal is pending (429): the second time it is a success without effect. */
  async cpus(count: number, signal?: AbortSignal): Promise<void> {
    const limits = { timeoutMs: commandTimeoutMs, signal }
    const accepted = () => this.#api.resize({ desired_vcpus: count }, limits)
    await this.#guest(accepted, 'let go of CPUs', signal)
    await this.#guest(accepted, 'let go of CPUs', signal)
  }

  async extra(bytes: number, signal?: AbortSignal): Promise<void> {
    const limits = { timeoutMs: commandTimeoutMs, signal }
    const { memoryBytes, memoryBacking } = this.#machine
    const total = memoryBytes + bytes
    if (memoryBacking === 'file') await this.#api.resizeZone(zoneId, total, limits)
    else await this.#api.resize({ desired_ram: total }, limits)
    const plugged = async () => (await this.#api.info(limits))?.memoryActualBytes === total
    await this.#guest(plugged, `make its memory ${total} bytes; its kernel needs virtio_mem`, signal)
  }

  disk(index: number, bytes: number, signal: AbortSignal): Promise<void> {
    return this.#api.resizeDisk(diskId(index), bytes, { timeoutMs: commandTimeoutMs, signal })
  }

  async #guest(done: () => Promise<boolean>, what: string, signal?: AbortSignal): Promise<void> {
    const deadline = this.#clock.monotonic() + guestTimeoutMs
    while (!(await done())) {
      if (this.#clock.monotonic() >= deadline) {
        throw new TidegateError(
          'hypervisor_failed',
          `the guest did not ${what} within ${guestTimeoutMs / 1000} s; it keeps what it had`,
        )
      }
      await this.#clock.sleep(pollMs, signal)
    }
  }
}

function wantedCpus({ resources, machine }: ResizeRequest): number {
  const cpus = Math.max(1, Math.ceil(resources.cpus))
  if (cpus <= machine.cpusMax) return cpus
  throw unsupported(`it can have ${machine.cpusMax} CPUs; set instance.template.cpus_max before it is made`)
}

function wantedExtra({ resources, machine }: ResizeRequest): number {
  const more = resources.memoryBytes - machine.memoryBytes
  const extra = Math.ceil(more / memoryStepBytes) * memoryStepBytes
  if (more < 0) throw unsupported(`it was made with ${machine.memoryBytes} bytes of memory and keeps those`)
  if (extra <= machine.memoryExtraBytes) return extra
  const max = machine.memoryBytes + machine.memoryExtraBytes
  throw unsupported(`its memory can be ${max} bytes; set instance.template.memory_max before it is made`)
}

/** The first disk of its own is the one that `resources.disk` speaks of. */
async function wantedDisk({ resources, machine, directory }: ResizeRequest) {
  const index = machine.disks.findIndex(disk => !disk.readonly)
  if (index < 0) return null
  const from = (await stat(join(directory, diskFile(index)))).size
  const to = Math.max(from, resources.diskBytes)
  return { index, from, to }
}

const cpusOf = ({ cpus }: Json): number | null => {
  const count = (cpus as Json | undefined)?.boot_vcpus
  return typeof count === 'number' ? count : null
}

/** What is asked to be plugged in, by the configuration; missing or null where nothing is. */
function pluggedOf({ memory }: Json): number {
  const { zones, hotplugged_size: plugged } = (memory ?? {}) as Json
  const [zone] = Array.isArray(zones) ? (zones as Json[]) : []
  const bytes = zone?.hotplugged_size ?? plugged
  return typeof bytes === 'number' ? bytes : 0
}

const unsupported = (why: string): TidegateError => new TidegateError('resize_unsupported', why)
