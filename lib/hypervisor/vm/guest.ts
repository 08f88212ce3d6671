/**
 * The guest side of a VM as the driver sees it: the environment it starts with, and the waits for its agent. The token in
 * the environment file is the agent's only key; a clone has its source's, since it is in the memory that was cloned.
 */
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import { GuestClient } from '../../guest/client.ts'
import { guestEnv } from '../../guest/protocol.ts'
import type { Endpoint, Identity, IdentityAck } from '../driver.ts'
import { environmentFile, environmentName } from './environment.ts'
import type { GuestPorts } from './record.ts'

const tokenBytes = 32
const pingTimeoutMs = 1_000
const pingGapMs = 50
const agentPortDefault = 7070

/** The agent's port in the guest, out of the application's way. */
export const guestPorts = (app: number): GuestPorts => ({
  app,
  agent: app === agentPortDefault ? agentPortDefault + 1 : agentPortDefault,
})

/** Writes the environment file (0600) into a directory and makes a token for its agent. */
export async function writeGuestEnvironment(
  directory: string,
  name: string,
  ports: GuestPorts,
  env: Readonly<Record<string, string>>,
): Promise<void> {
  const text = environmentFile({
    ...env,
    PORT: String(ports.app),
    TIDEGATE_INSTANCE: name,
    [guestEnv.vm]: '1',
    [guestEnv.port]: String(ports.agent),
    [guestEnv.token]: randomBytes(tokenBytes).toString('base64url'),
  })
  await writeFile(join(directory, environmentName), text, { mode: 0o600 })
}

/** A client of the agent at `address`, with the token that is in the directory's environment file. */
export async function guestClient(
  directory: string,
  address: Endpoint | null,
  clock: Clock,
): Promise<GuestClient> {
  if (address === null) throw new TidegateError('guest_unreachable', `${directory} was never started`)
  const text = await readFile(join(directory, environmentName), 'utf8')
  const token = new RegExp(`^${guestEnv.token}='(.*)'$`, 'm').exec(text)?.[1]
  if (token === undefined) throw new TidegateError('guest_unreachable', `there is no token in ${directory}`)
  return new GuestClient(address, token, clock)
}

/**
 * Waits until the agent answers. `alive` is asked between attempts and throws when there is nothing to wait for.
 * Attempts are short, because one made before the guest's network is up would wait for a retransmission.
 */
export async function waitForAgent(
  client: GuestClient,
  alive: () => Promise<void>,
  clock: Clock,
  limits: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<void> {
  const deadline = clock.monotonic() + limits.timeoutMs
  while (true) {
    try {
      await client.ping({ timeoutMs: pingTimeoutMs, signal: limits.signal })
      return
    } catch (error) {
      limits.signal.throwIfAborted()
      await alive()
      if (clock.monotonic() >= deadline) {
        throw new TidegateError(
          'guest_unreachable',
          `the agent in the VM did not answer within ${limits.timeoutMs} ms of its start`,
          { cause: error },
        )
      }
    }
    await clock.sleep(pingGapMs, limits.signal)
  }
}

/** What one hypervisor's guests may take. */
export interface IdentifyLimits {
  /** The application's own hook may take 5 s of it. */
  readonly tryTimeoutMs: number
  readonly triesMax: number
}

/** `alive` is asked after each failure and throws when there is nobody to ask. Only silence is tried again. */
export async function identifyGuest(
  client: GuestClient,
  identity: Identity,
  alive: () => Promise<unknown>,
  { tryTimeoutMs, triesMax }: IdentifyLimits,
  signal: AbortSignal,
): Promise<IdentityAck & { readonly warnings: readonly string[] }> {
  for (let tries = 1; ; tries++) {
    try {
      const answer = await client.identify(identity, { timeoutMs: tryTimeoutMs, signal })
      const { instance_id: instanceId, incarnation, application, warnings } = answer
      return { instanceId, incarnation, application, warnings }
    } catch (error) {
      signal.throwIfAborted()
      await alive()
      const silent = error instanceof TidegateError && error.code === 'guest_unreachable'
      if (!silent || tries >= triesMax) throw error
    }
  }
}
