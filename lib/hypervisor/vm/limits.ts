/**
 * Telling the application in a VM what it may use while the machine is given something else: what will be left before
 * anything leaves, all of it once everything is there, and what it had when it did not come to that. An application that
 * cannot be told keeps no machine from being resized; the report says so.
 */
import { toTidegateError } from '../../errors.ts'
import type { GuestClient, Limits } from '../../guest/client.ts'
import type { ResizeReport } from '../driver.ts'

/** The application's hook may take 5 s of it. */
const tellTimeoutMs = 8_000

export interface Told {
  readonly application: ResizeReport['application']
  readonly warnings: readonly string[]
}

/** Runs `act`, which changes the machine or throws and changes nothing. `to` is what it comes to. */
export async function changeTold<T>(
  client: GuestClient,
  from: Limits,
  to: Limits,
  act: () => Promise<T>,
): Promise<Told & { readonly result: T }> {
  const left = lesser(from, to)
  const leaving = !same(left, from)
  let told = leaving ? await tell(client, left) : null
  try {
    const result = await act()
    if (told === null || !same(left, to)) told = await tell(client, to)
    return { ...told, result }
  } catch (error) {
    if (leaving) await tell(client, from)
    throw error
  }
}

async function tell(client: GuestClient, limits: Limits): Promise<Told> {
  try {
    return await client.limits(limits, { timeoutMs: tellTimeoutMs })
  } catch (error) {
    return { application: 'not_told', warnings: [toTidegateError(error).message] }
  }
}

const lesser = (a: Limits, b: Limits): Limits => ({
  cpus: Math.min(a.cpus, b.cpus),
  memoryBytes: Math.min(a.memoryBytes, b.memoryBytes),
  diskBytes: Math.min(a.diskBytes, b.diskBytes),
})

const same = (a: Limits, b: Limits): boolean =>
  a.cpus === b.cpus && a.memoryBytes === b.memoryBytes && a.diskBytes === b.diskBytes
