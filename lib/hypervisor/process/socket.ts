/** Where an instance's agent socket lives. Linux allows 107 bytes for the path of a unix socket (unix(7)). */
import { createHash } from 'node:crypto'
import { lstat, mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TidegateError } from '../../errors.ts'

const pathBytesMax = 100
const socketName = 'guest.sock'

/** In the instance's own directory when its path is short enough, else in a private directory of the system's temporary one. */
export async function socketPath(instanceDirectory: string): Promise<string> {
  const path = join(instanceDirectory, socketName)
  if (Buffer.byteLength(path) <= pathBytesMax) return path
  const directory = join(tmpdir(), `tidegate-${process.getuid?.() ?? 0}`)
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const stats = await lstat(directory)
  // The temporary directory is everybody's: another user may have made this one first, to listen in our place.
  if (!stats.isDirectory() || stats.uid !== process.getuid?.() || (stats.mode & 0o077) !== 0) {
    throw new TidegateError(
      'hypervisor_failed',
      `${directory} must be a directory of our own with mode 0700; remove it`,
    )
  }
  return join(directory, `${createHash('sha256').update(instanceDirectory).digest('hex').slice(0, 24)}.sock`)
}
