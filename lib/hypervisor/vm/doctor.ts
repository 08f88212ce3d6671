/** Lines of `tidegate doctor` that every driver of VMs has. They throw nothing. */
import { constants, copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
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

/** Whether files can be copied by reference where instances are, seen by copying one. Without it a copy reads and writes each byte. */
export async function reflinkRow(directory: string): Promise<Diagnosis> {
  const fix =
    'put nodes[].options.directory on XFS (reflink=1) or Btrfs; copies take longer without, and nothing else'
  const found = await row('reflink', fix, async () => {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    const trial = await mkdtemp(join(directory, '.reflink-'))
    try {
      await writeFile(join(trial, 'a'), Buffer.alloc(4096, 1))
      await copyFile(join(trial, 'a'), join(trial, 'b'), constants.COPYFILE_FICLONE_FORCE)
      return `files in ${directory} are copied by reference`
    } catch {
      throw new Error(`files in ${directory} are copied byte by byte`)
    } finally {
      await rm(trial, { recursive: true, force: true })
    }
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
