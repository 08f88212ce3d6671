/**
 * Whether a snapshot may be started from: its files are what was written, and its state is of this QEMU and of a CPU like this
 * one. A state is a picture of one program's inside; another version may load it and go wrong later.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { checksum, rememberWritten, unusable, verifyFile } from '../checksums.ts'
import type { OwnerRecord } from '../ownership.ts'
import { files, memoryFiles } from './command-line.ts'
import { imagesIn } from './disks.ts'
import type { Accelerator, Machine } from './machine.ts'
import { snapshotFacts } from './record.ts'

export type Maker = { readonly maker: string }

let hostCpu: Promise<string> | null = null

/** Under emulation the guest sees an invented CPU, the same on every host. */
export async function makerOf(version: string, accelerator: Accelerator): Promise<Maker> {
  if (accelerator === 'tcg') return { maker: version }
  hostCpu ??= cpuName()
  return { maker: `${version} on ${await hostCpu}` }
}

/** Checksums of what was just written. The memory is read again only when it is to be kept. */
export async function sumFiles(
  directory: string,
  machine: Machine,
  keep: boolean,
  signal: AbortSignal,
): Promise<Readonly<Record<string, string>>> {
  const large = await largeFiles(directory, machine)
  const names = keep ? [files.state, files.env, ...large] : [files.state, files.env]
  const sums: Record<string, string> = {}
  for (const name of names) sums[name] = await checksum(join(directory, name), signal)
  if (!keep) for (const name of large) await rememberWritten(join(directory, name))
  return sums
}

/** Throws `snapshot_unusable`. */
export async function verifySnapshot(
  snapshot: { readonly path: string; readonly record: OwnerRecord },
  { maker }: Maker,
  signal: AbortSignal,
): Promise<void> {
  const { name } = snapshot.record
  const facts = snapshotFacts(snapshot.record)
  if (facts.maker !== maker)
    throw unusable(name, 'version', `it is of ${facts.maker ?? 'an older Tidegate'}, and here is ${maker}`)
  const large = await largeFiles(snapshot.path, facts.machine)
  for (const file of [files.state, files.env, ...large])
    await verifyFile(join(snapshot.path, file), facts.checksums[file] ?? null, name, signal)
}

/** The memory and the disk: what a checksum takes long for. */
async function largeFiles(directory: string, machine: Machine): Promise<readonly string[]> {
  return [...memoryFiles(machine), ...(await imagesIn(directory))]
}

/** The model, and a short name for its features. */
async function cpuName(): Promise<string> {
  const text = await readFile('/proc/cpuinfo', 'utf8').catch(() => '')
  const line = (key: string) => new RegExp(`^${key}\\s*: (.*)$`, 'm').exec(text)?.[1] ?? 'unknown'
  const features = createHash('sha256').update(line('flags')).digest('hex').slice(0, 8)
  return `${line('model name')} (${features})`
}
