/**
 * The guest library: with it an application inside an instance hands over its state, takes it back, and hears who it is.
 * Needs nothing but Node. Outside Tidegate (no socket and no port in the environment) it does nothing, so an application
 * runs unchanged on a developer's machine. What it can and cannot mend in a clone: docs/guest.md.
 *
 *   import { guest } from 'tidegate/guest'
 *   guest({ handOver: () => [...sessions], takeBack: state => { sessions = new Map(state) }, identified: me => rename(me) })
 */
import { readFileSync } from 'node:fs'
import { systemClock } from '../clock.ts'
import { type AgentOptions, startAgent } from './agent.ts'
import type { AnyHooks, GuestHooks, GuestIdentity } from './hooks.ts'
import { guestEnv, guestLimits } from './protocol.ts'

export type { GuestHooks, GuestIdentity, GuestResources } from './hooks.ts'

export interface Guest {
  /** False outside Tidegate. */
  readonly enabled: boolean
  /** Who this instance is; null until it was told, and in a restored copy until it is told anew. */
  identity(): GuestIdentity | null
  /** Stops listening. Not needed before the process ends: the agent does not keep it alive. */
  close(): void
}

/**
 * Starts the agent. Call it once, while the application loads and before it listens, so that a clone has its state back
 * before anybody asks. Throws when the environment asks for an agent but is faulty.
 */
export function guest<State>(hooks: GuestHooks<State> = {}, env: NodeJS.ProcessEnv = process.env): Guest {
  const options = readEnvironment(env)
  if (options === null) return { enabled: false, identity: () => null, close: () => {} }
  const agent = startAgent(bound(hooks), options)
  return { enabled: true, identity: agent.identity, close: agent.close }
}

/** Called on the object they were given in, so that methods that use `this` work as hooks. */
function bound<State>(hooks: GuestHooks<State>): AnyHooks {
  return {
    handOver: hooks.handOver?.bind(hooks) ?? null,
    takeBack: hooks.takeBack?.bind(hooks) ?? null,
    identified: hooks.identified?.bind(hooks) ?? null,
    resized: hooks.resized?.bind(hooks) ?? null,
  }
}

function readEnvironment(env: NodeJS.ProcessEnv): AgentOptions | null {
  const socket = env[guestEnv.socket]
  const port = env[guestEnv.port]
  if (!socket && !port) return null
  const vm = env[guestEnv.vm] === '1'
  const token = readToken(env)
  if (socket) return { listen: { socketPath: socket }, token, vm, clock: systemClock }
  const number = Number(port)
  if (!Number.isInteger(number) || number < 0 || number > 65_535) {
    throw new Error(`${guestEnv.port}=${port}: give a TCP port, 0 to 65535`)
  }
  return { listen: { port: number }, token, vm, clock: systemClock }
}

function readToken(env: NodeJS.ProcessEnv): string {
  const file = env[guestEnv.tokenFile]
  const token = env[guestEnv.token] ?? (file ? readFileSync(file, 'utf8').trimEnd() : '')
  if (token.length < guestLimits.tokenBytesMin || token.length > guestLimits.tokenBytesMax) {
    throw new Error(
      `the guest agent needs a token of ${guestLimits.tokenBytesMin} to ${guestLimits.tokenBytesMax} characters; ` +
        `set ${guestEnv.token} or ${guestEnv.tokenFile}`,
    )
  }
  return token
}
