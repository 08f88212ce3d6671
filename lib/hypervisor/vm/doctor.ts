/** Lines of `tidegate doctor` that every driver of VMs has. They throw nothing. */
import { mkdir } from 'node:fs/promises'
import { toTidegateError } from '../../errors.ts'
import type { Diagnosis } from '../driver.ts'
import { freeBytes } from './disk.ts'

const freeBytesMin = 2 * 1024 ** 3

/** `look` says what is there, or throws what is wrong. */
export async function row(name: string, fix: string, look: () => Promise<string>): Promise<Diagnosis> {
  try {
    return { name, ok: true, detail: await look() }
  } catch (error) {
    const { code, message } = toTidegateError(error, 'hypervisor_failed')
    return { name, ok: false, detail: message, fix, code }
  }
}

/** Room for instances; less than a little is worth saying, and no reason not to start. */
export async function diskRow(directory: string): Promise<Diagnosis> {
  const found = await row('disk', 'free some space, or give the node another directory', async () => {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    const free = await freeBytes(directory)
    const gib = (free / 1024 ** 3).toFixed(1)
    if (free < freeBytesMin) throw new Error(`only ${gib} GiB are free in ${directory}`)
    return `${gib} GiB are free in ${directory}`
  })
  return { ...found, advice: true }
}

/** The template's own line, and what `further` says of one whose fields are right. */
export async function templateRows<T>(
  parse: () => T,
  further: (template: T) => Promise<readonly Diagnosis[]>,
): Promise<readonly Diagnosis[]> {
  let parsed: { readonly template: T } | null = null
  const shape = await row('template', 'correct instance.template in the config', async () => {
    parsed = { template: parse() }
    return 'its fields are right'
  })
  // Assigned in the function above, which the compiler does not follow.
  const done = parsed as { readonly template: T } | null
  return done === null ? [shape] : [shape, ...(await further(done.template))]
}
