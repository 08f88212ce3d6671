/**
 * Checksums of the files of a snapshot: made when it is taken, compared before anything is started from it.
 *
 * The cost is bounded. A file is read whole once in the life of a process, a mebibyte at a time; after that it is known by its
 * inode, size and time of last change, which nobody changes by accident without changing its content. Who has just written a
 * file knows it without reading it. Holes and zero pages cost a comparison and no hashing: the memory of a VM is mostly that.
 */
import { createHash } from 'node:crypto'
import { open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { TidegateError } from '../errors.ts'

const chunkBytes = 1024 * 1024
const zeros = Buffer.alloc(chunkBytes)
const rememberedMax = 10_000

/** Files of this process's life whose content was compared, or written by itself: path → what they were then. */
const remembered = new Map<string, string>()

/** SHA-256 of a file, in hexadecimal, over its length and its chunks; an empty chunk counts as a mark. Remembers the file. */
export async function checksum(path: string, signal?: AbortSignal): Promise<string> {
  const before = await lookOf(path)
  const hash = createHash('sha256')
  const file = await open(path, 'r')
  try {
    const buffer = Buffer.allocUnsafe(chunkBytes)
    for (let at = 0; ; ) {
      signal?.throwIfAborted()
      const { bytesRead } = await file.read(buffer, 0, chunkBytes, at)
      if (bytesRead === 0) break
      const chunk = buffer.subarray(0, bytesRead)
      const empty = chunk.equals(bytesRead === chunkBytes ? zeros : zeros.subarray(0, bytesRead))
      hash.update(empty ? `zero ${bytesRead};` : chunk)
      at += bytesRead
    }
  } finally {
    await file.close()
  }
  remember(path, before)
  return hash.digest('hex')
}

/** This process has written the file and closed it: what is in it is known. */
export async function rememberWritten(path: string): Promise<void> {
  remember(path, await lookOf(path))
}

/**
 * The file is what it was when `expected` was made; null: no checksum was made, and only its writer may use it. Throws
 * `snapshot_unusable` when it is not, or cannot be read.
 */
export async function verifyFile(
  path: string,
  expected: string | null,
  snapshot: string,
  signal?: AbortSignal,
): Promise<void> {
  const look = await lookOf(path).catch((error: unknown) => {
    throw unusable(snapshot, 'unreadable', `${path} cannot be read`, error)
  })
  if (remembered.get(path) === look) return
  if (expected === null)
    throw unusable(snapshot, 'no_checksum', `${path} has no checksum, and another process wrote it`)
  const found = await checksum(path, signal).catch((error: unknown) => {
    signal?.throwIfAborted()
    throw unusable(snapshot, 'unreadable', `${path} cannot be read`, error)
  })
  if (found === expected) return
  remembered.delete(path)
  throw unusable(snapshot, 'checksum', `${path} is not what was written: its checksum does not match`)
}

/** Checksums of what was just written, by name. What is large is read again only when the snapshot is to be kept. */
export async function sumSnapshot(
  directory: string,
  { small, large }: { readonly small: readonly string[]; readonly large: readonly string[] },
  keep: boolean,
  signal: AbortSignal,
): Promise<Readonly<Record<string, string>>> {
  const sums: Record<string, string> = {}
  for (const name of keep ? [...small, ...large] : small)
    sums[name] = await checksum(join(directory, name), signal)
  if (!keep) for (const name of large) await rememberWritten(join(directory, name))
  return sums
}

/** Throws `snapshot_unusable`. */
export async function verifyFiles(
  snapshot: { readonly name: string; readonly path: string },
  files: Iterable<string>,
  checksums: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<void> {
  const { name, path } = snapshot
  for (const file of files) await verifyFile(join(path, file), checksums[file] ?? null, name, signal)
}

/** Between the program and the processor in the name of what a snapshot was made by. */
export const cpuMark = ' on '

/** Throws `snapshot_unusable`: another version, or another CPU, may load it and go wrong later. */
export function requireMaker(snapshot: string, made: string | null, here: string): void {
  if (made === here) return
  const [program, cpu] = made?.split(cpuMark) ?? []
  const [programHere, cpuHere] = here.split(cpuMark)
  throw program === programHere && cpu !== undefined
    ? unusable(
        snapshot,
        'cpu',
        `it was saved on the processor ${cpu}, and here is ${cpuHere}; a guest counts its time by the real processor's clock, under emulation too`,
      )
    : unusable(snapshot, 'version', `it is of ${made ?? 'an older Tidegate'}, and here is ${here}`)
}

/** A snapshot that nothing may be started from. `why` is for machines, `message` for people. */
export function unusable(snapshot: string, why: string, message: string, cause?: unknown): TidegateError {
  return new TidegateError(
    'snapshot_unusable',
    `snapshot ${snapshot} cannot be used: ${message}; remove it and take another`,
    { details: { snapshot, why }, ...(cause === undefined ? {} : { cause }) },
  )
}

async function lookOf(path: string): Promise<string> {
  const { dev, ino, size, mtimeNs } = await stat(path, { bigint: true })
  return `${dev} ${ino} ${size} ${mtimeNs}`
}

function remember(path: string, look: string): void {
  remembered.delete(path)
  remembered.set(path, look)
  const [oldest] = remembered.keys()
  if (remembered.size > rememberedMax && oldest !== undefined) remembered.delete(oldest)
}
