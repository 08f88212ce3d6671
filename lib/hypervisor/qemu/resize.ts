/** One resize from end to end: what is plugged in, the plan, the acts, the guest's own word that it uses them, and the application's. */
import type { Clock } from '../../clock.ts'
import type { Resources } from '../../config/config.ts'
import { TidegateError } from '../../errors.ts'
import type { GuestClient } from '../../guest/client.ts'
import { changeTold, type Told } from '../vm/limits.ts'
import { readChain } from './disks.ts'
import { readAdded, resizeVm } from './hot-plug.ts'
import { type Machine, memoryOf } from './machine.ts'
import type { InstanceFacts } from './record.ts'
import { planResize } from './resize-plan.ts'
import { openControl } from './vm.ts'

export interface ResizeRequest {
  readonly directory: string
  /** As it is recorded; what can be asked of QEMU is asked. */
  readonly machine: Machine
  readonly countedDiskBytes: number | null
  readonly memory: InstanceFacts['memory']
  readonly client: GuestClient
  readonly clock: Clock
  readonly signal: AbortSignal
}

const connectTimeoutMs = 5_000
const guestTimeoutMs = 20_000
/** Of added memory the guest's kernel takes a part for its own tables. */
const usableShare = 0.9

export async function resizeInstance(
  name: string,
  request: ResizeRequest,
  wanted: Resources,
): Promise<Told & { readonly result: Resources; readonly hasDisk: boolean }> {
  const { directory, memory, client, clock, signal, countedDiskBytes } = request
  const qmp = await openControl(directory, clock, connectTimeoutMs, signal)
  try {
    // The disk too may be larger than a record says, if QEMU's answer to that was never heard.
    const chain = await readChain(qmp)
    const machine = { ...request.machine, diskBytes: chain?.virtualBytes ?? null }
    const plan = planResize(name, machine, await readAdded(qmp, machine), wanted, countedDiskBytes)
    const before = await client.resize(0, 0, { timeoutMs: guestTimeoutMs, signal })
    const tell = async (cpus: number, abort?: AbortSignal) => {
      const least = before.memory_bytes + (abort ? plan.addMemoryBytes * usableShare : 0)
      const answer = await client.resize(cpus, least, { timeoutMs: guestTimeoutMs, signal: abort })
      if (answer.cpus === cpus && answer.memory_bytes >= least) return
      const why = answer.warnings.join('; ') || 'it does not say why'
      const has = `${answer.cpus} CPUs and ${answer.memory_bytes} bytes of memory`
      throw new TidegateError(
        'hypervisor_failed',
        `the guest of ${name} uses ${has} of what it was given: ${why}`,
      )
    }
    const site = { qmp, directory, machine, memory, signal, tell, cpusBefore: before.cpus }
    const disk = machine.diskBytes ?? 0
    const now = memoryOf({ ...machine, added: plan.now })
    const from = { cpus: before.cpus, memoryBytes: now, diskBytes: disk }
    const to = { ...plan.result, diskBytes: plan.diskBytes ?? disk }
    const told = await changeTold(client, from, to, async () => {
      await resizeVm(site, plan)
      return plan.result
    })
    return { ...told, hasDisk: machine.diskBytes !== null || plan.plugDisk }
  } finally {
    qmp.close()
  }
}
