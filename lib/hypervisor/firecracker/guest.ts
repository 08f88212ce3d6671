/**
 * The guest side of a microVM as the driver sees it. Its environment is at the metadata address, the way that Firecracker
 * has for it: on no command line, in no log, and not in a snapshot. The agent is reached through the network like the
 * application (why not through vsock: docs/decisions/firecracker-over-the-network.md).
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import { GuestClient } from '../../guest/client.ts'
import { guestEnv } from '../../guest/protocol.ts'
import type { Endpoint, Identity, IdentityAck } from '../driver.ts'
import type { GuestPorts } from '../qemu/record.ts'
import { files, metadataOf } from './calls.ts'

/** The application's own hook may take 5 s. A dial after a restore can hang for ever, so each try is cut and made anew. */
const identifyTryTimeoutMs = 7_000
const identifyTriesMax = 4

export async function guestClient(directory: string, agent: Endpoint, clock: Clock): Promise<GuestClient> {
  const text = await readFile(join(directory, files.env), 'utf8')
  const token = new RegExp(`^${guestEnv.token}='(.*)'$`, 'm').exec(text)?.[1]
  if (token === undefined) throw new TidegateError('guest_unreachable', `there is no token in ${directory}`)
  return new GuestClient(agent, token, clock)
}

export async function readMetadata(directory: string, name: string, ports: GuestPorts) {
  return metadataOf(await readFile(join(directory, files.env), 'utf8'), name, ports)
}

/** `alive` is asked after each silence and throws when there is nobody to ask. */
export async function identifyGuest(
  client: GuestClient,
  identity: Identity,
  alive: () => Promise<unknown>,
  signal: AbortSignal,
): Promise<IdentityAck & { readonly warnings: readonly string[] }> {
  for (let tries = 1; ; tries++) {
    try {
      const answer = await client.identify(identity, { timeoutMs: identifyTryTimeoutMs, signal })
      const { instance_id: instanceId, incarnation, application, warnings } = answer
      return { instanceId, incarnation, application, warnings }
    } catch (error) {
      signal.throwIfAborted()
      await alive()
      const silent = error instanceof TidegateError && error.code === 'guest_unreachable'
      if (!silent || tries >= identifyTriesMax) throw error
    }
  }
}
