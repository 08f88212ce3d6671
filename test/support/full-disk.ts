/** A directory on a disk with no room, for the length of a test: a tiny tmpfs mounted over it, which takes root. */
import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import type { Test } from 'tap'
import { leftOut } from './left-out.ts'

const bytes = 64 * 1024

export async function fullDisk(t: Test, directory: string, test: () => Promise<void>): Promise<void> {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0700`, 'tmpfs', directory])
  if (mount.status !== 0) {
    const why = mount.error?.message ?? String(mount.stderr).trim()
    leftOut(t, `a full disk, which takes the right to mount (run as root): ${why}`)
    return
  }
  try {
    await test()
  } finally {
    const unmount = spawnSync('umount', [directory])
    t.equal(unmount.status, 0, `the small disk is gone again ${unmount.stderr}`)
  }
}
