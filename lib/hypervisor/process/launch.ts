/**
 * Starts an instance's process and waits until it answers.
 *
 *   port picked → process started → recorded ──▶ agent answers ──▶ (clone: state given back) ──▶ port listens → done
 *        ▲                                   └─▶ port listens, no agent (create only) ─────────────────────────▶ done
 *        └── exited with EADDRINUSE, attempts left ──┘      exited otherwise → instance_died      late → instance_unhealthy
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, readFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import type { GuestClient } from '../../guest/client.ts'
import { guestEnv } from '../../guest/protocol.ts'
import type { Endpoint } from '../driver.ts'
import { bootId, type ProcessKey, readProcess } from '../proc.ts'
import type { ProcessTemplate } from './template.ts'

export interface LaunchPlan {
  readonly name: string
  readonly directory: string
  readonly template: ProcessTemplate
  readonly socket: string
  readonly tokenFile: string
  readonly client: GuestClient
  readonly timeoutMs: number
  /** Makes the process findable. Awaited before anything is asked of it. */
  readonly record: (process: ProcessKey, address: Endpoint) => Promise<void>
  /** Gives a clone its state, as soon as the agent answers. Null: a cold start, which needs no agent. */
  readonly restore: ((client: GuestClient) => Promise<void>) | null
  readonly signal: AbortSignal
  readonly clock: Clock
}

const loopback = '127.0.0.1'
const logFile = 'log'
const portAttemptsMax = 5
const pollMs = 10
const pingTimeoutMs = 1_000
/** How long after its agent answered an application may take to listen before it counts as started all the same. */
const listenGraceMs = 5_000
/** How long after it listens a clone's application may take to start its agent. */
const agentGraceMs = 2_000
const logTailBytes = 2_048
/** Ports given to starts that are under way in this process, so that two at once never try the same. */
const pickedPorts = new Set<number>()

export async function launch(plan: LaunchPlan): Promise<Endpoint> {
  const deadlineMs = plan.clock.monotonic() + plan.timeoutMs
  for (let attempt = 1; ; attempt++) {
    plan.signal.throwIfAborted()
    const port = await pickPort()
    pickedPorts.add(port)
    try {
      const started = await start(plan, port)
      await ready(plan, started, deadlineMs)
      return started.address
    } catch (error) {
      // Between our look and the application's bind another may have taken the port.
      if (!(error instanceof PortTaken) || attempt === portAttemptsMax) throw error
    } finally {
      pickedPorts.delete(port)
    }
  }
}

interface Started {
  readonly address: Endpoint
  /** How it ended, once it has. */
  readonly ended: () => string | null
  readonly logFrom: number
}

class PortTaken extends TidegateError {}

async function start(plan: LaunchPlan, port: number): Promise<Started> {
  const { template } = plan
  const [command, ...args] = template.command
  const log = await open(join(plan.directory, logFile), 'a', 0o600)
  try {
    const logFrom = (await log.stat()).size
    // In its own process group and without our pipes, so that it outlives us.
    const child = spawn(command === 'node' ? process.execPath : command, args, {
      cwd: template.cwd ?? process.cwd(),
      env: environment(plan, port),
      stdio: ['ignore', log.fd, log.fd],
      detached: true,
    })
    let ended: string | null = null
    child.once('exit', (code, signal) => {
      ended = signal === null ? `exit code ${code}` : signal
    })
    try {
      await once(child, 'spawn')
    } catch (error) {
      throw new TidegateError(
        'template_invalid',
        `command ${command} cannot be started: ${(error as Error).message}`,
      )
    }
    child.unref()
    const address = { host: loopback, port }
    const facts = await readProcess(child.pid!)
    if (facts) await plan.record({ pid: facts.pid, started: facts.started, boot: await bootId() }, address)
    return { address, ended: () => ended, logFrom }
  } finally {
    await log.close()
  }
}

async function ready(plan: LaunchPlan, started: Started, deadlineMs: number): Promise<void> {
  const { clock, signal } = plan
  let agentAtMs: number | null = null
  let listeningAtMs: number | null = null
  for (;;) {
    signal.throwIfAborted()
    const ended = started.ended()
    if (ended !== null) throw await died(plan, ended, started.logFrom)
    if (agentAtMs === null && (await answers(plan))) {
      await plan.restore?.(plan.client)
      agentAtMs = clock.monotonic()
    }
    if (listeningAtMs === null && (await listens(started.address))) listeningAtMs = clock.monotonic()
    const nowMs = clock.monotonic()
    const usable = agentAtMs !== null || plan.restore === null
    // Asked once more: an application that could not have its port ends a moment after its agent came up.
    if (listeningAtMs !== null && usable && started.ended() === null) return
    if (agentAtMs !== null && nowMs - agentAtMs > listenGraceMs) return
    if (listeningAtMs !== null && !usable && nowMs - listeningAtMs > agentGraceMs) throw noAgent(plan.name)
    if (nowMs > deadlineMs) {
      const why = usable ? 'does not listen on the port in PORT' : 'has no guest agent'
      throw new TidegateError('instance_unhealthy', `${plan.name} ${why} after ${plan.timeoutMs} ms`, {
        details: { log: await logTail(plan.directory, started.logFrom) },
      })
    }
    await clock.sleep(pollMs, signal)
  }
}

export const noAgent = (name: string) =>
  new TidegateError(
    'guest_unreachable',
    `the application of ${name} cannot hand over and take back its state; let it call ` +
      'guest({ handOver, takeBack }) of tidegate/guest when it starts (docs/guest.md)',
  )

async function answers(plan: LaunchPlan): Promise<boolean> {
  try {
    await plan.client.ping({ timeoutMs: pingTimeoutMs, signal: plan.signal })
    return true
  } catch (error) {
    plan.signal.throwIfAborted()
    if (error instanceof TidegateError && error.code === 'guest_unreachable') return false
    throw error
  }
}

function listens(address: Endpoint): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ host: address.host, port: address.port })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

async function pickPort(): Promise<number> {
  for (;;) {
    const server = createServer()
    server.listen(0, loopback)
    await once(server, 'listening')
    const address = server.address()
    server.close()
    await once(server, 'close')
    if (typeof address === 'object' && address && !pickedPorts.has(address.port)) return address.port
  }
}

/** Only what a program needs to run: our own environment may hold secrets. */
function environment(plan: LaunchPlan, port: number): NodeJS.ProcessEnv {
  const inherited = ['PATH', 'HOME', 'USER', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR'].flatMap(name => {
    const value = process.env[name]
    return value === undefined ? [] : [[name, value]]
  })
  return {
    ...Object.fromEntries(inherited),
    HOST: loopback,
    ...plan.template.env,
    PORT: String(port),
    [guestEnv.socket]: plan.socket,
    [guestEnv.tokenFile]: plan.tokenFile,
  }
}

async function died(plan: LaunchPlan, ended: string, logFrom: number): Promise<TidegateError> {
  const log = await logTail(plan.directory, logFrom)
  const message = `${plan.name} ended (${ended}) while it started; the end of its log: ${log.trim() || '(empty)'}`
  const details = { ended, log }
  return log.includes('EADDRINUSE')
    ? new PortTaken('instance_died', message, { details })
    : new TidegateError('instance_died', message, { details })
}

async function logTail(directory: string, from: number): Promise<string> {
  try {
    const log = (await readFile(join(directory, logFile))).subarray(from)
    return log.subarray(Math.max(0, log.length - logTailBytes)).toString('utf8')
  } catch {
    return ''
  }
}
