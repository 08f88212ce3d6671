/**
 * The guest side of a microVM as the driver sees it. Its environment is at the metadata address, the way that Firecracker
 * has for it: on no command line, in no log, and not in a snapshot. The agent is reached through the network like the
 * application (why not through vsock: docs/decisions/firecracker-over-the-network.md).
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { GuestPorts } from '../vm/record.ts'
import { files, metadataOf } from './calls.ts'

/** A dial after a restore can hang for ever, so each try is cut and made anew. */
export const identifyLimits = { tryTimeoutMs: 7_000, triesMax: 4 }

export async function readMetadata(directory: string, name: string, ports: GuestPorts) {
  return metadataOf(await readFile(join(directory, files.env), 'utf8'), name, ports)
}
