/**
 * Waits for the agent of a VM that was just booted. When it stays silent, the counters of the VM's network tell how far the
 * guest came, which is what somebody who has to mend an image asks first.
 */
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import type { Endpoint } from '../driver.ts'
import type { ProcessKey } from '../proc.ts'
import { agentReady } from '../vm/agent-ready.ts'
import { files, netId } from './vm-config.ts'
import { apiOf } from './vmm.ts'

export interface Booted {
  readonly directory: string
  readonly agent: Endpoint | null
  readonly process: ProcessKey
}

const askTimeoutMs = 2_000

/** Throws `guest_unreachable`, or `instance_died` when the hypervisor ended. */
export async function guestUp(
  booted: Booted,
  clock: Clock,
  limits: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<void> {
  try {
    await agentReady({ ...booted, name: 'Cloud Hypervisor', logs: [files.log] }, clock, limits)
  } catch (error) {
    if (!(error instanceof TidegateError) || error.code !== 'guest_unreachable') throw error
    const traffic = await trafficOf(booted.directory, clock)
    throw new TidegateError('guest_unreachable', `${error.message}; ${traffic}`, { cause: error })
  }
}

/** Empty where it cannot be asked any more. */
async function trafficOf(directory: string, clock: Clock): Promise<string> {
  try {
    const { [netId]: net } = await apiOf(directory, clock).counters({ timeoutMs: askTimeoutMs })
    const { tx_bytes: sent = 0, rx_bytes: received = 0 } = net ?? {}
    if (sent === 0) return 'its guest has sent nothing: its network did not come up'
    return `its guest has sent ${sent} bytes and received ${received}: its network is up, the agent is not`
  } catch {
    return 'how far its guest came cannot be asked'
  }
}
