/**
 * A VM's state out of QEMU into a file, and back. QEMU calls both a migration. It sends the state to a socket (`state-file.ts`),
 * because a command to write it would be a fork of QEMU, for which the VM stands still, and reads it through a command.
 *
 * `background`: the memory too, as it is when this begins: QEMU stops the VM for a moment, lets it run on, and writes each
 * page before the guest may change it. `devices`: everything but the memory, which is in a shared file. `full`: the memory too, sent while the VM runs; it is
 * stopped for the last part only.
 */
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import { files } from './command-line.ts'
import type { Command, Qmp, QmpEvent, QmpLimits } from './qmp.ts'
import { receiveState } from './state-file.ts'

export type StateKind = 'devices' | 'full' | 'background'

export interface SaveOptions {
  /** `full`: what to do while the VM stands still for the last part. Without it QEMU does not wait. */
  readonly atRest?: () => Promise<void>
  /** `background`: commands to run just before, without a wait in between, because the VM stands still from the first. */
  readonly first?: readonly Command[]
}

const commandTimeoutMs = 5_000
/** No limit in practice: 100 GiB/s. The default, 128 MiB/s, would make the last part last for seconds. */
const bandwidthBytesPerSecond = 100 * 1024 ** 3
/** QEMU stops the VM when it thinks that the rest takes no longer than this. */
const downtimeMs = 100
/** A guest that writes faster than we copy would never be stopped: then a longer pause is taken. */
const impatientAfterMs = 8_000
const impatientDowntimeMs = 2_000
const fileTimeoutMs = 10_000
const ends: readonly string[] = ['completed', 'failed', 'cancelled']

/** Writes the VM's state to `state` in its directory. With `devices` the VM must be stopped; it is stopped at the end. */
export async function saveState(
  qmp: Qmp,
  directory: string,
  kind: StateKind,
  clock: Clock,
  limits: QmpLimits,
  options: SaveOptions = {},
): Promise<void> {
  const quick = { ...limits, timeoutMs: commandTimeoutMs }
  const { atRest, first = [] } = options
  const file = await receiveState(directory, clock)
  let hurry = () => {}
  try {
    await setCapabilities(qmp, kind, quick, atRest !== undefined)
    await setPace(qmp, downtimeMs, quick)
    await qmp.executeAll([...first, { name: 'migrate', args: { uri: file.uri } }], quick)
    hurry = clock.after(impatientAfterMs, () => {
      setPace(qmp, impatientDowntimeMs, quick).catch(() => {})
    })
    if (atRest !== undefined) await switchOver(qmp, atRest, limits)
    await completed(qmp, 'saving', limits)
    await file.written({ timeoutMs: fileTimeoutMs })
  } catch (error) {
    await qmp.execute('migrate_cancel', {}, { timeoutMs: commandTimeoutMs }).catch(() => {})
    throw (await file.failure()) ?? error
  } finally {
    hurry()
    await file.close()
    // Left on, it would be how the VM is saved by whoever does not say otherwise.
    if (kind === 'background') await setCapabilities(qmp, 'full', quick).catch(() => {})
  }
}

/** Reads `state` into a QEMU that was started with `-incoming defer`. The VM is paused afterwards. */
export async function loadState(qmp: Qmp, kind: StateKind, limits: QmpLimits): Promise<void> {
  const quick = { ...limits, timeoutMs: commandTimeoutMs }
  await setCapabilities(qmp, kind, quick)
  await qmp.execute('migrate-incoming', { uri: `exec:cat ${files.state}` }, quick)
  await completed(qmp, 'restoring', limits)
}

async function switchOver(qmp: Qmp, atRest: () => Promise<void>, limits: QmpLimits): Promise<void> {
  const isOver = ({ event, data }: QmpEvent) =>
    event === 'MIGRATION' && ['pre-switchover', ...ends].includes(String(data.status))
  const { data } = await qmp.event(isOver, 'saving', limits)
  if (data.status !== 'pre-switchover') return
  await atRest()
  await qmp.execute('migrate-continue', { state: 'pre-switchover' }, limits)
}

/** Those that are on are turned off too: a VM is saved more than once, and not always in the same way. */
function setCapabilities(qmp: Qmp, kind: StateKind, limits: QmpLimits, waits = false): Promise<unknown> {
  const capabilities = [
    { capability: 'events', state: true },
    { capability: 'x-ignore-shared', state: kind === 'devices' },
    { capability: 'background-snapshot', state: kind === 'background' },
    { capability: 'pause-before-switchover', state: waits },
  ]
  return qmp.execute('migrate-set-capabilities', { capabilities }, limits)
}

function setPace(qmp: Qmp, downtime: number, limits: QmpLimits): Promise<unknown> {
  const parameters = { 'max-bandwidth': bandwidthBytesPerSecond, 'downtime-limit': downtime }
  return qmp.execute('migrate-set-parameters', parameters, limits)
}

async function completed(qmp: Qmp, what: string, limits: QmpLimits): Promise<void> {
  const ended = await qmp.event(
    ({ event, data }) => event === 'MIGRATION' && ends.includes(String(data.status)),
    what,
    limits,
  )
  if (ended.data.status === 'completed') return
  throw new TidegateError('snapshot_failed', `QEMU could not finish ${what} the state (${ended.data.status})`)
}
