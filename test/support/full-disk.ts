/** A directory on a disk with no room, for the length of a test: a tiny tmpfs mounted over it, which takes root. */
import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import type { Test } from 'tap'

const bytes = 64 * 1024

export async function fullDisk(t: Test, directory: string, test: () => Promise<void>): Promise<void> {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0700`, 'tmpfs', directory])
  if (mount.status !== 0) {
    // With CI=true nothing may be left out.
    if (process.env.CI) t.fail(`no small disk can be mounted: ${mount.error?.message ?? mount.stderr}`)
    else t.comment('left out: a full disk, which takes the right to mount (run as root)')
    return
  }
  try {
    await test()
  } finally {
    const unmount = spawnSync('umount', [directory])
    t.equal(unmount.status, 0, `the small disk is gone again ${unmount.stderr}`)
  }
}
