/** The disk under the instances: what is free, what a file really takes, and a copy that keeps holes. */
import { spawn } from 'node:child_process'
import { lstat, readdir, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { TidegateError } from '../../errors.ts'

const reserveBytes = 64 * 1024 * 1024
const wordsCharsMax = 500

/** Bytes that we may still write on the file system of `path`. */
export async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path)
  return bavail * bsize
}

/** Bytes that a file occupies, holes not counted. */
export async function allocatedBytes(path: string): Promise<number> {
  return (await stat(path)).blocks * 512
}

/** What the disks in a VM's directory occupy, bytes; a link to what all share is nobody's own. Null where they cannot be read. */
export async function ownDiskBytes(directory: string): Promise<number | null> {
  try {
    const names = (await readdir(directory)).filter(name => name.startsWith('disk'))
    const files = await Promise.all(names.map(name => lstat(join(directory, name))))
    return files.filter(file => file.isFile()).reduce((sum, { blocks }) => sum + blocks * 512, 0)
  } catch {
    return null
  }
}

/** Throws `disk_full` when fewer than `bytes` and a small reserve are free. */
export async function requireSpace(path: string, bytes: number, what: string): Promise<void> {
  const wanted = bytes + reserveBytes
  const free = await freeBytes(path)
  if (free >= wanted) return
  throw new TidegateError(
    'disk_full',
    `${what} needs ${mib(wanted)} MiB in ${path} and ${mib(free)} MiB are free; free some or move the node's directory`,
    { details: { needed_bytes: wanted, free_bytes: free } },
  )
}

export interface WaitingCopy {
  /** Lets it begin. Resolves when the copy is whole. Throws `disk_full` or `snapshot_failed`, or the signal's reason. */
  run(): Promise<void>
  /** Ends it if it was never run. */
  drop(): void
}

/**
 * A copy of a file without its holes and zero pages, by reference where the file system can, that waits to be told: its
 * process is started beforehand, because starting one takes tens of milliseconds on a busy machine, in which the VM would
 * stand still. An external `cp`, because Node's own copy fills holes.
 */
export function prepareCopy(source: string, target: string, signal: AbortSignal): WaitingCopy {
  signal.throwIfAborted()
  const script = 'read -r go && exec cp --sparse=always --reflink=auto -- "$0" "$1"'
  const copy = spawn('/bin/sh', ['-c', script, source, target], { stdio: ['pipe', 'ignore', 'pipe'] })
  const onAbort = () => copy.kill('SIGKILL')
  signal.addEventListener('abort', onAbort, { once: true })
  let words = ''
  copy.stderr.on('data', chunk => {
    words = (words + chunk).slice(-wordsCharsMax)
  })
  copy.stdin.on('error', () => {})
  const done = new Promise<void>((resolve, reject) => {
    copy.once('error', error => reject(copyFailure(error.message, null)))
    copy.once('close', status => {
      signal.removeEventListener('abort', onAbort)
      if (status === 0) resolve()
      else if (signal.aborted) reject(signal.reason)
      else reject(copyFailure(words.trim(), status))
    })
  })
  done.catch(() => {})
  return {
    run: () => {
      copy.stdin.end('go\n')
      return done
    },
    drop: () => {
      copy.stdin.destroy()
    },
  }
}

function copyFailure(words: string, status: number | null): TidegateError {
  const code = /no space left|quota exceeded/i.test(words) ? 'disk_full' : 'snapshot_failed'
  return new TidegateError(code, `the memory could not be copied: ${words || `cp ended with ${status}`}`)
}

const mib = (bytes: number): number => Math.ceil(bytes / 1024 / 1024)
