/** Waits for the agent of a VM that was just booted, as long as its hypervisor lives. */
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import type { Endpoint } from '../driver.ts'
import type { ProcessKey } from '../proc.ts'
import { guestClient, waitForAgent } from './guest.ts'
import { explainBy, findVmm } from './process.ts'

export interface Booted {
  /** Of the hypervisor, as people call it. */
  readonly name: string
  readonly directory: string
  /** Where it says what ended it. */
  readonly logs: readonly string[]
  readonly process: ProcessKey | null
  readonly agent: Endpoint | null
}

/** Throws `guest_unreachable` when it stays silent, `instance_died` with the hypervisor's words when that ended. */
export async function agentReady(
  { agent, process, ...vmm }: Booted,
  clock: Clock,
  limits: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<void> {
  const client = await guestClient(vmm.directory, agent, clock)
  const alive = async () => {
    if ((await findVmm(vmm.directory, process)) !== null) return
    const ended = new TidegateError('hypervisor_unreachable', `${vmm.name} ended`)
    throw await explainBy(ended, vmm, process, clock)
  }
  await waitForAgent(client, alive, clock, limits)
}
