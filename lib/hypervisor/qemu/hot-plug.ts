/**
 * Other resources for a VM that runs: processors and memory modules plugged in, modules pulled out again, a larger disk or a first one.
 * What is plugged in now is asked of QEMU, never of a record: a crash between an act and its record cannot make it wrong.
 *
 *   grow memory ─▶ plug processors ─▶ tell the guest ─▶ shrink memory ─▶ grow or plug the disk
 *        └───────────────┴─── any of these fails: what was done is undone, in reverse ──┘
 *
 * A processor is never pulled out: QEMU's software emulation can crash on it later (seen with 7.2). The guest takes it out
 * of use instead, and takes it up again. The disk comes last because what has grown cannot be made smaller, and because the guest may
 * write to a new one as soon as it is there: neither is ever taken back.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { TidegateError } from '../../errors.ts'
import { NoAnswer } from '../no-answer.ts'
import { requireSpace } from '../vm/disk.ts'
import { blockNode, cpuModel, dimmDevice, diskDevice, diskModel, diskNode } from './command-line.ts'
import { makeImage, readChain } from './disks.ts'
import { type Added, cpuId, dimmId, type Machine } from './machine.ts'
import type { Qmp, QmpEvent, QmpLimits } from './qmp.ts'
import type { InstanceFacts } from './record.ts'
import type { ResizePlan } from './resize-plan.ts'

export interface ResizeSite {
  readonly qmp: Qmp
  readonly directory: string
  readonly machine: Machine
  readonly memory: InstanceFacts['memory']
  readonly signal: AbortSignal
  /** Has the guest use so many processors and all of its memory, and say so. */
  tell(cpus: number, signal?: AbortSignal): Promise<void>
  /** How many it used before. */
  readonly cpusBefore: number
}

const quick = { timeoutMs: 10_000 } as const
/** A guest moves what is in a module elsewhere before it lets go of it. */
const unplugTimeoutMs = 30_000

/** What is plugged in beyond the boot. */
export async function readAdded(qmp: Qmp, machine: Machine): Promise<Added> {
  const cpus = (await qmp.execute('query-hotpluggable-cpus', {}, quick)) as readonly {
    readonly 'qom-path'?: string
  }[]
  const modules = (await qmp.execute('query-memory-devices', {}, quick)) as readonly {
    readonly type: string
    readonly data: { readonly slot: number; readonly size: number }
  }[]
  const dimms = modules.filter(({ type }) => type === 'dimm').map(({ data }) => data)
  return {
    cpus: cpus.filter(cpu => cpu['qom-path'] !== undefined).length - machine.cpus,
    dimmBytes: dimms.toSorted((a, b) => a.slot - b.slot).map(({ size }) => size),
  }
}

/** Does what the plan says, or nothing. */
export async function resizeVm(site: ResizeSite, plan: ResizePlan): Promise<void> {
  const undo: (() => Promise<unknown>)[] = []
  const { qmp, machine, signal } = site
  const steps: (() => Promise<void>)[] = [
    async () => {
      if (plan.addMemoryBytes === 0) return
      await requireSpace(site.directory, plan.addMemoryBytes, 'the added memory')
      const slot = plan.now.dimmBytes.length
      await plugDimm(site, slot, plan.addMemoryBytes)
      undo.push(() => pullDimm(site, slot))
    },
    async () => {
      const first = machine.cpus + plan.now.cpus
      for (let core = first; core < first + plan.addCpus; core++) await plugCpu(qmp, machine, core)
    },
    async () => {
      undo.push(() => site.tell(site.cpusBefore))
      await site.tell(plan.cpus, signal)
    },
    async () => {
      for (let slot = plan.now.dimmBytes.length - 1; slot >= plan.keepDimms; slot--) {
        await pullDimm(site, slot)
        undo.push(() => plugDimm(site, slot, plan.now.dimmBytes[slot]!))
      }
    },
    async () => {
      if (plan.diskBytes === null) return
      await (plan.plugDisk ? plugDisk(site, plan.diskBytes) : growDisk(qmp, plan.diskBytes))
    },
  ]
  try {
    for (const step of steps) {
      signal.throwIfAborted()
      await step()
    }
  } catch (error) {
    for (const act of undo.reverse()) await act().catch(() => {})
    signal.throwIfAborted()
    throw error
  }
}

async function plugCpu(qmp: Qmp, machine: Machine, core: number): Promise<void> {
  const place = { 'socket-id': 0, 'core-id': core, 'thread-id': 0 }
  await qmp.execute('device_add', { driver: cpuModel(machine.accelerator), id: cpuId(core), ...place }, quick)
}

async function plugDimm({ qmp, directory, memory }: ResizeSite, slot: number, bytes: number): Promise<void> {
  const id = dimmId(slot)
  await rm(join(directory, id), { force: true })
  // All in files or none: QEMU protects the pages of a file from writes no more than it copies what is in none.
  const kind = memory === 'anonymous' ? 'memory-backend-ram' : 'memory-backend-file'
  const file = memory === 'anonymous' ? {} : { 'mem-path': id, share: true }
  const backend = { 'qom-type': kind, id, size: bytes, ...file }
  await qmp.execute('object-add', backend, quick)
  try {
    await qmp.execute('device_add', { driver: 'pc-dimm', id: dimmDevice(slot), memdev: id, slot }, quick)
  } catch (error) {
    // Refused where it was plugged in after all and only its answer is missing: then it stays, file and all.
    const free = await qmp.execute('object-del', { id }, quick).then(
      () => true,
      () => false,
    )
    if (free) await rm(join(directory, id), { force: true })
    throw error
  }
}

/** Throws `hypervisor_failed` when the guest does not let go of it: then the module stays. */
async function pullDimm({ qmp, directory }: ResizeSite, slot: number): Promise<void> {
  const device = dimmDevice(slot)
  qmp.forgetEvents()
  await qmp.execute('device_del', { id: device }, quick)
  const limits: QmpLimits = { timeoutMs: unplugTimeoutMs }
  const { event } = await qmp.event(told => isAnswer(told, device), 'the guest to give memory back', limits)
  if (event !== 'DEVICE_DELETED') {
    throw new TidegateError('hypervisor_failed', 'the guest does not give the memory back: it is in use')
  }
  await qmp.execute('object-del', { id: dimmId(slot) }, quick)
  await rm(join(directory, dimmId(slot)), { force: true })
}

const isAnswer = ({ event, data }: QmpEvent, device: string): boolean =>
  ['DEVICE_DELETED', 'DEVICE_UNPLUG_GUEST_ERROR', 'MEM_UNPLUG_ERROR'].includes(event) &&
  data.device === device

/** An empty one, on the first free place of the bus: where a machine that is made with a disk has it, and so each clone of this one. */
async function plugDisk({ qmp, directory }: ResizeSite, bytes: number): Promise<void> {
  const image = await makeImage(directory, bytes, null)
  const forget = () => rm(join(directory, image), { force: true })
  // Of a try before this one whose answer was lost.
  await qmp.execute('blockdev-del', { 'node-name': diskNode }, quick).catch(() => {})
  try {
    await qmp.execute('blockdev-add', blockNode(diskNode, image), quick)
  } catch (error) {
    if (!(error instanceof NoAnswer)) await forget()
    throw error
  }
  try {
    await qmp.execute('device_add', { driver: diskModel, drive: diskNode, id: diskDevice }, quick)
  } catch (error) {
    // As with a module: where QEMU does not let go of the image the disk is there.
    const free = await qmp.execute('blockdev-del', { 'node-name': diskNode }, quick).then(
      () => true,
      () => false,
    )
    if (free) await forget()
    throw error
  }
}

async function growDisk(qmp: Qmp, bytes: number): Promise<void> {
  const chain = await readChain(qmp)
  await qmp.execute('block_resize', { 'node-name': chain?.node, size: bytes }, quick)
}
