/**
 * One process a store. The lock is an exclusive transaction held open on a small database beside the store's: the kernel
 * drops it when the process ends, however it ends, so a crash leaves nothing to clean up. Reading the store's own file with
 * another tool stays possible.
 */
import { chmodSync, closeSync, openSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { TidegateError } from '../errors.ts'

export interface StoreLock {
  release(): void
}

/** Throws `already_running` when another holds it. */
export function takeLock(file: string): StoreLock {
  const path = `${file}-lock`
  closeSync(openSync(path, 'a', 0o600))
  chmodSync(path, 0o600)
  const db = new DatabaseSync(path, { timeout: 0 })
  try {
    db.exec('BEGIN EXCLUSIVE')
  } catch (error) {
    db.close()
    if ((error as { errcode?: number }).errcode !== busy) throw error
    throw new TidegateError(
      'already_running',
      `another Tidegate uses the store ${file}; stop it, or give this one another store.path`,
      { details: { path: file }, cause: error },
    )
  }
  return { release: () => db.isOpen && db.close() }
}

const busy = 5
