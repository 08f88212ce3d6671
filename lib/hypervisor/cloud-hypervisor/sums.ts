/** Which files of a snapshot are held against their checksums: all that are there, and those that have to be. */
import { readdir } from 'node:fs/promises'
import { requireMaker, sumSnapshot, verifyFiles } from '../checksums.ts'
import type { SnapshotFacts } from './record.ts'
import { files } from './vm-config.ts'

const small: readonly string[] = [files.config, files.state, files.env]
const record = 'owner.json'

/** Everything but the small ones is memory or a disk. */
export async function sumFiles(
  directory: string,
  keep: boolean,
  signal: AbortSignal,
): Promise<Readonly<Record<string, string>>> {
  const present = await filesIn(directory)
  const isSmall = (name: string) => small.includes(name)
  const sizes = { small: present.filter(isSmall), large: present.filter(name => !isSmall(name)) }
  return sumSnapshot(directory, sizes, keep, signal)
}

/** Throws `snapshot_unusable`. */
export async function verifySnapshot(
  { name, path, facts }: { readonly name: string; readonly path: string; readonly facts: SnapshotFacts },
  maker: string,
  signal: AbortSignal,
): Promise<void> {
  requireMaker(name, facts.maker, maker)
  const memory = facts.memoryIsFile ? files.ram : files.ranges
  const wanted = new Set([...small, memory, ...(await filesIn(path))])
  await verifyFiles({ name, path }, wanted, facts.checksums, signal)
}

const filesIn = async (directory: string) => (await readdir(directory)).filter(name => name !== record)
