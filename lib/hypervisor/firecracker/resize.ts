/**
 * More or less memory for a running microVM. Upwards by plugging memory into a region that was there from its start
 * (Firecracker 1.14), downwards by a balloon that the guest fills. Both are wishes that the guest fulfils: what it does not
 * do in time is taken back. Firecracker plugs no processors, and a disk has the size that it has.
 */
import type { Clock } from '../../clock.ts'
import type { Resources } from '../../config/config.ts'
import { TidegateError } from '../../errors.ts'
import type { FirecrackerApi } from './api.ts'
import { balloonCall, hotplugCall, type Machine } from './calls.ts'

interface Plan {
  readonly memoryMib: number
  readonly pluggedMib: number
  readonly balloonMib: number
}

const mib = 1024 * 1024
const blockMib = 2
const callTimeoutMs = 5_000
const guestTimeoutMs = 15_000
const pollMs = 50

/** Throws `resize_unsupported`, with what would make it possible, before anything is changed. */
export function planResize(machine: Machine, wanted: Resources): Plan {
  if (Math.max(1, Math.ceil(wanted.cpus)) !== machine.cpus) {
    throw unsupported('Firecracker cannot change the CPUs of a running VM')
  }
  if (wanted.diskBytes !== machine.diskBytes) {
    throw unsupported('the disk of a running VM cannot be changed here')
  }
  const { bootMib, hotplugMib, balloon } = machine
  const memoryMib = Math.ceil(wanted.memoryBytes / mib)
  if (memoryMib > bootMib + hotplugMib) {
    throw unsupported(
      `it has at most ${bootMib + hotplugMib} MiB; instances made with a larger instance.template.memory_max have more`,
    )
  }
  if (memoryMib < bootMib && !balloon) {
    throw unsupported(
      `it has at least ${bootMib} MiB; instances made with instance.template.balloon can have less`,
    )
  }
  const pluggedMib = Math.ceil(Math.max(0, memoryMib - bootMib) / blockMib) * blockMib
  const balloonMib = Math.max(0, bootMib - memoryMib)
  return { memoryMib: bootMib + pluggedMib - balloonMib, pluggedMib, balloonMib }
}

/** Returns the machine as it is now. Throws `hypervisor_failed` when the guest did not do it, and then it has what it had. */
export async function resizeVm(
  api: FirecrackerApi,
  machine: Machine,
  wanted: Resources,
  signal: AbortSignal,
  clock: Clock,
): Promise<Machine> {
  const plan = planResize(machine, wanted)
  const before = planResize(machine, { ...wanted, memoryBytes: machine.memoryMib * mib })
  try {
    await apply(api, before, plan, signal, clock)
  } catch (error) {
    await take(api, plan, before).catch(() => {})
    throw error
  }
  return { ...machine, memoryMib: plan.memoryMib }
}

async function apply(
  api: FirecrackerApi,
  from: Plan,
  to: Plan,
  signal: AbortSignal,
  clock: Clock,
): Promise<void> {
  signal.throwIfAborted()
  await take(api, from, to)
  const limits = { timeoutMs: callTimeoutMs, signal }
  const deadline = clock.monotonic() + guestTimeoutMs
  for (;;) {
    const plugged =
      to.pluggedMib === from.pluggedMib || (await api.hotplug(limits)).pluggedMib === to.pluggedMib
    const filled = to.balloonMib === from.balloonMib || (await api.balloonMib(limits)) === to.balloonMib
    if (plugged && filled) return
    if (clock.monotonic() >= deadline) {
      const message = `the guest did not go to ${to.memoryMib} MiB within ${guestTimeoutMs} ms; its kernel needs virtio_mem and virtio_balloon`
      throw new TidegateError('hypervisor_failed', message)
    }
    await clock.sleep(pollMs, signal)
  }
}

async function take(api: FirecrackerApi, from: Plan, to: Plan): Promise<void> {
  const limits = { timeoutMs: callTimeoutMs }
  if (to.pluggedMib !== from.pluggedMib) await api.send(hotplugCall(to.pluggedMib), limits)
  if (to.balloonMib !== from.balloonMib) await api.send(balloonCall(to.balloonMib), limits)
}

const unsupported = (why: string): TidegateError =>
  new TidegateError('resize_unsupported', `${why}; replace it by an instance with other resources`)
