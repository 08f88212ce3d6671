/**
 * Whose is it: the record on disk that says which installation, cluster and operation made an instance or a snapshot.
 * Shared by the drivers that keep their instances under a directory. It knows files, not hypervisors: what a record's
 * own fields mean is the driver's.
 *
 *   <directory>/{instances,snapshots}/<name>/owner.json      directories 0700, files 0600
 *
 * A directory appears under its name only with its record inside, and disappears under its name in one step (both by
 * rename), so a crash leaves either a whole claim or a `.new-…`/`.gone-…` directory, which the next `list` sweeps away.
 */
import { randomBytes } from 'node:crypto'
import { chmod, lstat, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../clock.ts'
import { TidegateError } from '../errors.ts'
import type { Owner } from './driver.ts'

export type OwnedKind = 'instances' | 'snapshots'

export interface OwnerRecord {
  readonly name: string
  readonly owner: Owner
  readonly createdAtMs: number
  /** The driver's own: plain JSON, snake_case. */
  readonly fields: Readonly<Record<string, unknown>>
}

/** One directory as found. `record` null: something is there whose record cannot be read, for the reason in `problem`. */
export type Found =
  | { readonly name: string; readonly path: string; readonly record: OwnerRecord }
  | { readonly name: string; readonly path: string; readonly record: null; readonly problem: string }

/** Owner of what nobody can claim: matches no installation, so nothing of it is ever touched by a collector. */
export const nobody: Owner = Object.freeze({ installation: '', cluster: '', operation: '' })

const namePattern = /^[a-z0-9-]{1,63}$/
const recordFile = 'owner.json'
const recordBytesMax = 1024 * 1024
/** A claim takes milliseconds; one this old was left by a crash. */
const abandonedAfterMs = 10 * 60_000

export class Ownership {
  readonly #directory: string
  readonly #clock: Clock
  /** The last update of each record, so that two updates of one record do not lose each other's fields. */
  readonly #updates = new Map<string, Promise<unknown>>()

  constructor(directory: string, clock: Clock) {
    this.#directory = directory
    this.#clock = clock
  }

  /** Where everything of `name` is kept. Throws `invalid_request` for a name that is not file-system safe. */
  path(kind: OwnedKind, name: string): string {
    if (!namePattern.test(name)) {
      throw new TidegateError(
        'invalid_request',
        `name ${JSON.stringify(name)}: use 1 to 63 of a-z, 0-9 and "-"`,
      )
    }
    return join(this.#directory, kind, name)
  }

  /**
   * Takes `name`: makes its directory with the record in it, durably, and returns the directory's path. Nothing may run
   * before this resolves. Throws `hypervisor_failed` when the name is taken by an instance or a snapshot.
   */
  async claim(kind: OwnedKind, name: string, owner: Owner, fields: Record<string, unknown>): Promise<string> {
    const path = this.path(kind, name)
    if ((await this.kindOf(name)) !== null) throw taken(name)
    const parent = join(this.#directory, kind)
    const fresh = join(parent, `.new-${name}-${randomBytes(4).toString('hex')}`)
    const record: OwnerRecord = { name, owner, createdAtMs: this.#clock.now(), fields }
    try {
      await mkdir(parent, { recursive: true, mode: 0o700 })
      await mkdir(fresh, { mode: 0o700 })
      // The mode given to mkdir is cut by the umask; this one is not.
      await chmod(fresh, 0o700)
      await writeDurably(join(fresh, recordFile), encode(record))
      await rename(fresh, path)
      await syncDirectory(parent)
    } catch (error) {
      await rm(fresh, { recursive: true, force: true }).catch(() => {})
      throw isCode(error, 'ENOTEMPTY', 'EEXIST') ? taken(name) : ioError(error, `cannot claim ${name}`)
    }
    return path
  }

  /** Merges `fields` into the record, durably and at once. Throws `unknown_instance` when there is none. */
  async update(kind: OwnedKind, name: string, fields: Record<string, unknown>): Promise<OwnerRecord> {
    const path = this.path(kind, name)
    const before = this.#updates.get(path) ?? Promise.resolve()
    const update = before
      .catch(() => {})
      .then(async () => {
        const found = await this.read(kind, name)
        if (!found?.record) throw unknownInstance(name)
        const record = { ...found.record, fields: { ...found.record.fields, ...fields } }
        try {
          await writeDurably(join(path, recordFile), encode(record))
        } catch (error) {
          throw ioError(error, `cannot update the record of ${name}`)
        }
        return record
      })
    this.#updates.set(path, update)
    try {
      return await update
    } finally {
      if (this.#updates.get(path) === update) this.#updates.delete(path)
    }
  }

  /** What is under `name`; null when nothing is. Throws `hypervisor_unreachable` when that cannot be told. */
  async read(kind: OwnedKind, name: string): Promise<Found | null> {
    const path = this.path(kind, name)
    const found = (await exists(path)) ? await readFound(name, path) : null
    // Removed by another in the middle of the look: that is gone, not unreadable.
    return found?.record === null && !(await exists(path)) ? null : found
  }

  /** Which kind `name` is; null when there is nothing of that name. */
  async kindOf(name: string): Promise<OwnedKind | null> {
    if (await this.read('instances', name)) return 'instances'
    return (await this.read('snapshots', name)) ? 'snapshots' : null
  }

  /** Everything of a kind, in order of name. A directory that was never made holds nothing; one that cannot be read throws. */
  async list(kind: OwnedKind): Promise<readonly Found[]> {
    const parent = join(this.#directory, kind)
    let names: string[]
    try {
      names = await readdir(parent)
    } catch (error) {
      if (isCode(error, 'ENOENT')) return []
      throw unreachable(parent, error)
    }
    const found: Found[] = []
    for (const name of names.sort()) {
      if (name.startsWith('.')) await this.#sweep(join(parent, name), name)
      else if (namePattern.test(name)) {
        const entry = await this.read(kind, name)
        if (entry) found.push(entry)
      }
    }
    return found
  }

  /** Removes the directory of `name` with all its files. What is already gone is a success. */
  async remove(kind: OwnedKind, name: string): Promise<void> {
    const path = this.path(kind, name)
    const gone = join(this.#directory, kind, `.gone-${name}-${randomBytes(4).toString('hex')}`)
    try {
      await rename(path, gone)
      await rm(gone, { recursive: true, force: true })
      await syncDirectory(join(this.#directory, kind))
    } catch (error) {
      if (!isCode(error, 'ENOENT')) throw ioError(error, `cannot remove ${path}`)
    }
  }

  async #sweep(path: string, name: string): Promise<void> {
    try {
      const abandoned = name.startsWith('.new-')
        ? this.#clock.now() - (await lstat(path)).mtimeMs > abandonedAfterMs
        : name.startsWith('.gone-')
      if (abandoned) await rm(path, { recursive: true, force: true })
    } catch {
      // Another process may sweep at the same time; what is left is swept by the next list.
    }
  }
}

/** Writes a 0600 file that is there wholly or not at all, also after a power cut. Throws the system's own error. */
export async function writeDurably(path: string, content: string | Uint8Array): Promise<void> {
  const fresh = `${path}.${randomBytes(4).toString('hex')}.tmp`
  try {
    const file = await open(fresh, 'wx', 0o600)
    try {
      await file.writeFile(content)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(fresh, path)
    await syncDirectory(join(path, '..'))
  } catch (error) {
    await rm(fresh, { force: true }).catch(() => {})
    throw error
  }
}

/** Makes the names in a directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

/** A file-system error as a row of the error table: no space is `disk_full`, all else is `fallback`. */
export function ioError(
  error: unknown,
  what: string,
  fallback: 'hypervisor_failed' | 'snapshot_failed' = 'hypervisor_failed',
): TidegateError {
  if (error instanceof TidegateError) return error
  const reason = error instanceof Error ? error.message : String(error)
  if (isCode(error, 'ENOSPC', 'EDQUOT')) {
    return new TidegateError(
      'disk_full',
      `${what}: no space left; free some or give the node a larger disk`,
      {
        cause: error,
      },
    )
  }
  return new TidegateError(fallback, `${what}: ${reason}`, { cause: error })
}

/** A system error becomes a row of the table; an abort's own reason stays what it is. */
export function asIoError(error: unknown, what: string): unknown {
  return error instanceof Error && 'syscall' in error ? ioError(error, what) : error
}

export function isCode(error: unknown, ...codes: string[]): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' && codes.includes(code)
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (isCode(error, 'ENOENT')) return false
    throw unreachable(path, error)
  }
}

async function readFound(name: string, path: string): Promise<Found> {
  try {
    if (!(await lstat(path)).isDirectory()) return { name, path, record: null, problem: 'not a directory' }
    const file = join(path, recordFile)
    const size = (await lstat(file)).size
    if (size > recordBytesMax) return { name, path, record: null, problem: `${recordFile} is ${size} bytes` }
    const record = decode(await readFile(file, 'utf8'))
    if (record === null) return { name, path, record: null, problem: `${recordFile} is not an owner record` }
    if (record.name !== name) {
      return {
        name,
        path,
        record: null,
        problem: `${recordFile} is the record of ${JSON.stringify(record.name)}`,
      }
    }
    return { name, path, record }
  } catch (error) {
    return { name, path, record: null, problem: error instanceof Error ? error.message : String(error) }
  }
}

function encode(record: OwnerRecord): string {
  const { name, owner, createdAtMs, fields } = record
  return `${JSON.stringify({ version: 1, name, owner, created_at_ms: createdAtMs, fields }, null, 2)}\n`
}

function decode(text: string): OwnerRecord | null {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return null
  }
  if (!isObject(value) || value.version !== 1 || !isObject(value.owner) || !isObject(value.fields))
    return null
  const { name, owner, created_at_ms: createdAtMs, fields } = value
  const { installation, cluster, operation, epoch } = owner
  if (typeof installation !== 'string' || typeof cluster !== 'string' || typeof operation !== 'string')
    return null
  if (typeof name !== 'string' || typeof createdAtMs !== 'number' || !Number.isFinite(createdAtMs))
    return null
  const life = typeof epoch === 'number' && Number.isFinite(epoch) ? { epoch } : {}
  return { name, owner: { installation, cluster, operation, ...life }, createdAtMs, fields }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const taken = (name: string) =>
  new TidegateError('hypervisor_failed', `the name ${name} is taken; destroy it first`, { details: { name } })

export const unknownInstance = (name: string): TidegateError =>
  new TidegateError('unknown_instance', `there is no instance or snapshot ${name} here`, {
    details: { name },
  })

const unreachable = (path: string, error: unknown) =>
  new TidegateError(
    'hypervisor_unreachable',
    `cannot read ${path}: ${error instanceof Error ? error.message : error}`,
    {
      cause: error,
      details: { path },
    },
  )
