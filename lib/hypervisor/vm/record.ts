/** The fields of an owner record that those of every VM have. @pure */
import type { Endpoint } from '../driver.ts'
import type { ProcessKey } from '../proc.ts'

export type Fields = Record<string, unknown>

/** Ports inside the guest, which a clone inherits with its memory. */
export interface GuestPorts {
  readonly app: number
  readonly agent: number
}

/** What of an instance's record is the same for every hypervisor. */
export interface VmFacts {
  /** Where the application and the agent are reached; null until it was started. */
  readonly app: Endpoint | null
  readonly agent: Endpoint | null
  readonly process: ProcessKey | null
  /** Whose files its memory rests on; null: nobody's. */
  readonly snapshot: string | null
}

export interface VmSnapshotFacts {
  readonly source: string
  readonly complete: boolean
  readonly bytes: number
  /** The only boot in which it may be used; null: in any, because its files have checksums or were forced to the disk. */
  readonly boot: string | null
}

export const processFields = ({ pid, started, boot }: ProcessKey): Fields => ({ pid, started, boot })

export const readProcessKey = ({ pid, started, boot }: Fields): ProcessKey | null =>
  typeof pid === 'number' ? { pid, started: String(started), boot: String(boot) } : null

/**
 * Of a snapshot whose files are not forced to the disk: the boot in which it was written; null when its files have checksums,
 * which vouch for them in any boot. The memory's is made only with those of all others.
 */
export const trustedIn = (fields: Fields, memoryFile: string): string | null =>
  memoryFile in textsOf(fields.checksums) ? null : String(fields.boot)

/** Checksums by file name, as they were written. */
export function textsOf(value: unknown): Readonly<Record<string, string>> {
  if (typeof value !== 'object' || value === null) return {}
  return Object.fromEntries(Object.entries(value).filter(([, text]) => typeof text === 'string'))
}
