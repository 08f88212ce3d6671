/** The root file system of a microVM, under one name in every directory: a copy of its own, or a link to what all share. */
import { chmod, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { allocatedBytes, prepareCopy, requireSpace } from '../vm/disk.ts'
import { files, type Machine } from './calls.ts'

/** Puts the disk into `directory`, by reference where the file system can. `source` null: there is none. */
export async function giveDisk(
  directory: string,
  machine: Machine,
  source: string | null,
  signal: AbortSignal,
): Promise<void> {
  if (machine.disk === 'none' || source === null) return
  const path = join(directory, files.disk)
  if (machine.disk === 'shared') return symlink(source, path)
  await requireSpace(directory, await allocatedBytes(source), 'the disk of a VM')
  try {
    await prepareCopy(source, path, signal).run()
    await chmod(path, 0o600)
  } catch (error) {
    await rm(path, { force: true }).catch(() => {})
    throw error
  }
}
