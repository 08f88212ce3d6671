/**
 * Whether a snapshot may be started from: its files are what was written, and its state is of this Cloud Hypervisor and of
 * a CPU like this one. Another version may refuse it, or worse, accept it.
 */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { checksum, rememberWritten, unusable, verifyFile } from '../checksums.ts'
import type { SnapshotFacts } from './record.ts'
import { files } from './vm-config.ts'

const small: readonly string[] = [files.config, files.state, files.env]
const record = 'owner.json'

/** Checksums of what was just written. Memory and disks are read again only when they are to be kept. */
export async function sumFiles(
  directory: string,
  keep: boolean,
  signal: AbortSignal,
): Promise<Readonly<Record<string, string>>> {
  const sums: Record<string, string> = {}
  for (const name of await readdir(directory)) {
    if (name === record) continue
    if (keep || small.includes(name)) sums[name] = await checksum(join(directory, name), signal)
    else await rememberWritten(join(directory, name))
  }
  return sums
}

/** Throws `snapshot_unusable`. */
export async function verifySnapshot(
  snapshot: { readonly name: string; readonly path: string; readonly facts: SnapshotFacts },
  maker: string,
  signal: AbortSignal,
): Promise<void> {
  const { name, path, facts } = snapshot
  if (facts.maker !== maker) throw unusable(name, 'version', `it is of ${facts.maker}, and here is ${maker}`)
  const memory = facts.memoryIsFile ? files.ram : files.ranges
  const present = (await readdir(path)).filter(file => file !== record)
  for (const file of new Set([...small, memory, ...present])) {
    await verifyFile(join(path, file), facts.checksums[file] ?? null, name, signal)
  }
}
