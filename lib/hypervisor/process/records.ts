/** What the process driver keeps in its owner records, read back with suspicion: the files may be of another version. @pure */
import type { StateShape } from '../../guest/protocol.ts'
import { isStateShape } from '../../guest/protocol.ts'
import type { Endpoint } from '../driver.ts'
import type { ProcessKey } from '../proc.ts'

export interface InstanceFields {
  /** Path of the guest agent's socket. */
  readonly socket: string
  /** Where the application listens; null until it was started. */
  readonly address: Endpoint | null
  /** Null until it was started, and for good when a crash came between the start and its record. */
  readonly process: ProcessKey | null
}

export interface SnapshotFields {
  /** Name of the instance it was taken of. */
  readonly source: string
  /** Null while it is being written, and after a crash in the middle. */
  readonly state: { readonly shape: StateShape; readonly bytes: number; readonly sha256: string } | null
}

/** Null when the fields are not ours to understand. */
export function readInstanceFields(fields: Readonly<Record<string, unknown>>): InstanceFields | null {
  const { socket, address, process } = fields
  if (typeof socket !== 'string') return null
  if (address !== null && !isEndpoint(address)) return null
  if (process !== null && !isProcessKey(process)) return null
  return { socket, address, process }
}

export function readSnapshotFields(fields: Readonly<Record<string, unknown>>): SnapshotFields | null {
  const { source, state } = fields
  if (typeof source !== 'string') return null
  if (state === null) return { source, state }
  if (!isObject(state) || !isStateShape(state.shape)) return null
  const { shape, bytes, sha256 } = state
  if (typeof bytes !== 'number' || bytes < 0 || typeof sha256 !== 'string') return null
  return { source, state: { shape, bytes, sha256 } }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null

const isEndpoint = (value: unknown): value is Endpoint =>
  isObject(value) && typeof value.host === 'string' && typeof value.port === 'number'

const isProcessKey = (value: unknown): value is ProcessKey =>
  isObject(value) &&
  Number.isInteger(value.pid) &&
  (value.pid as number) > 1 &&
  typeof value.started === 'string' &&
  typeof value.boot === 'string'
