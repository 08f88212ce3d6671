/**
 * A writer for the archive that the Linux kernel unpacks as its first file system: cpio "newc". @pure
 * Format: Linux Documentation/driver-api/early-userspace/buffer-format.rst. Inodes are numbered in order and times are
 * zero, so equal input gives equal bytes. Only what an image needs: directories, plain files, symbolic links.
 */
import { Buffer } from 'node:buffer'

export interface ArchiveEntry {
  /** Path inside the image, without a leading slash. */
  readonly path: string
  /** File type and permission bits, as in `stat`. */
  readonly mode: number
  readonly data: Uint8Array
}

const directoryMode = 0o040755
const fileMode = 0o100644
const programMode = 0o100755
const linkMode = 0o120777

export const file = (path: string, data: Uint8Array): ArchiveEntry => ({ path, mode: fileMode, data })
export const program = (path: string, data: Uint8Array): ArchiveEntry => ({ path, mode: programMode, data })
export const link = (path: string, target: string): ArchiveEntry => ({
  path,
  mode: linkMode,
  data: Buffer.from(target),
})

/** The archive's bytes. Parent directories are added by themselves, before what is in them. */
export function archive(entries: readonly ArchiveEntry[]): Buffer {
  const all = new Map<string, ArchiveEntry>()
  for (const entry of entries) {
    const parts = entry.path.split('/')
    for (let depth = 1; depth < parts.length; depth++) {
      const path = parts.slice(0, depth).join('/')
      if (!all.has(path)) all.set(path, { path, mode: directoryMode, data: new Uint8Array() })
    }
    all.set(entry.path, entry)
  }
  const sorted = [...all.values()].sort((a, b) => (a.path < b.path ? -1 : 1))
  const chunks = sorted.flatMap((entry, index) => record(entry, index + 1))
  chunks.push(...record({ path: 'TRAILER!!!', mode: 0, data: new Uint8Array() }, 0))
  return Buffer.concat(chunks)
}

function record(entry: ArchiveEntry, inode: number): Uint8Array[] {
  const name = Buffer.from(`${entry.path}\0`)
  const links = (entry.mode & 0o170000) === 0o040000 ? 2 : 1
  const fields = [inode, entry.mode, 0, 0, links, 0, entry.data.length, 0, 0, 0, 0, name.length, 0]
  const header = Buffer.from(`070701${fields.map(field => field.toString(16).padStart(8, '0')).join('')}`)
  return [header, name, padding(header.length + name.length), entry.data, padding(entry.data.length)]
}

/** Zero bytes up to the next multiple of four. */
function padding(length: number): Uint8Array {
  return new Uint8Array((4 - (length % 4)) % 4)
}
