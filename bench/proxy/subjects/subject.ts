/** What a subject is: a proxy that can be started in front of an origin, on the subject's core, with one thread of its own. */
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'

export interface Order {
  /** Where requests are to go. */
  readonly originPort: number
  /** Speak TLS on the listener. */
  readonly certificate: { readonly cert: string; readonly key: string; readonly bundle: string } | null
  /** A directory of this run, for configuration files. */
  readonly scratch: string
}

export interface Running {
  readonly pid: number
  readonly port: number
  /** Of an admin API, if it has one. */
  readonly adminPort?: number
  /** The file that it logs requests to, if it does. */
  readonly accessLog?: string
  stop(): Promise<void>
}

export interface Subject {
  /** As it is written after `--subjects`. */
  readonly name: string
  /** `HAProxy 2.6.12`; null: it is not installed. */
  version(): string | null
  /** The command that installs it. */
  readonly howToGet: string
  /** Of Node. Each compiles its code anew while it runs, so each needs load of its own before it is at its best. */
  readonly eventLoops: number
  start(order: Order): Promise<Running>
}

/** A directory of its own for a subject that is about to start. */
export function ownDirectory(scratch: string, name: string): string {
  return mkdtempSync(join(scratch, `${name}-`))
}
