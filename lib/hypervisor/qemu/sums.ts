/** Which files of a snapshot are held against their checksums, and what its state must have been written by. */
import { requireMaker, sumSnapshot, verifyFiles } from '../checksums.ts'
import type { OwnerRecord } from '../ownership.ts'
import { files, memoryFiles } from './command-line.ts'
import { imagesIn } from './disks.ts'
import type { Machine } from './machine.ts'
import { snapshotFacts } from './record.ts'

const small = [files.state, files.env]

export async function sumFiles(
  directory: string,
  machine: Machine,
  keep: boolean,
  signal: AbortSignal,
): Promise<Readonly<Record<string, string>>> {
  return sumSnapshot(directory, { small, large: await largeFiles(directory, machine) }, keep, signal)
}

/** Throws `snapshot_unusable`. */
export async function verifySnapshot(
  { path, record }: { readonly path: string; readonly record: OwnerRecord },
  maker: string,
  signal: AbortSignal,
): Promise<void> {
  const { name } = record
  const { machine, maker: made, checksums } = snapshotFacts(record)
  requireMaker(name, made, maker)
  await verifyFiles({ name, path }, [...small, ...(await largeFiles(path, machine))], checksums, signal)
}

/** The memory and the disk: what a checksum takes long for. */
async function largeFiles(directory: string, machine: Machine): Promise<readonly string[]> {
  return [...memoryFiles(machine), ...(await imagesIn(directory))]
}
