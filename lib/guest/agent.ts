/**
 * The agent: the guest side of the protocol, a small HTTP server inside the application's process. It authenticates,
 * bounds and routes; what the requests do is in `state.ts` and `identify.ts`. It never keeps the process alive.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { chmodSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Clock } from '../clock.ts'
import type { AnyHooks, GuestIdentity } from './hooks.ts'
import { Identifier } from './identify.ts'
import type { PingAnswer } from './protocol.ts'
import {
  type GuestFailureCode,
  guestFailures,
  guestLimits,
  guestPaths,
  guestProtocolVersion,
} from './protocol.ts'
import { hearLimits, resizeGuest } from './resources.ts'
import { handOver, Refusal, readBody, takeBack } from './state.ts'

export interface AgentOptions {
  readonly listen: { readonly socketPath: string } | { readonly port: number }
  readonly token: string
  /** Whether the whole machine is ours: host name and clock may be set. */
  readonly vm: boolean
  readonly clock: Clock
}

export interface Agent {
  readonly server: Server
  identity(): GuestIdentity | null
  close(): void
}

type Handler = (request: IncomingMessage, response: ServerResponse) => Promise<unknown>

export function startAgent(hooks: AnyHooks, options: AgentOptions): Agent {
  const { clock } = options
  const identifier = new Identifier(hooks.identified, { vm: options.vm, clock })
  const ping = (): PingAnswer => {
    const identity = identifier.identity()
    return {
      protocol: guestProtocolVersion,
      pid: process.pid,
      hooks: {
        hand_over: hooks.handOver !== null,
        take_back: hooks.takeBack !== null,
        identified: hooks.identified !== null,
      },
      identity: identity && { instance_id: identity.instanceId, incarnation: identity.incarnation },
    }
  }
  const handlers: Readonly<Record<string, Handler>> = {
    [`GET ${guestPaths.ping}`]: async () => ping(),
    [`POST ${guestPaths.handOver}`]: (_, response) => handOver(hooks, response, clock),
    [`POST ${guestPaths.takeBack}`]: async request => {
      const answer = await takeBack(hooks, request)
      identifier.forget()
      return answer
    },
    [`POST ${guestPaths.identify}`]: async request => {
      const receivedAtMs = clock.monotonic()
      const body = await readBody(request, guestLimits.jsonBodyBytesMax)
      return identifier.identify(body.toString('utf8'), receivedAtMs)
    },
    [`POST ${guestPaths.resize}`]: async request => {
      if (!options.vm) throw new Refusal('no_hook', 'this is a process: it has no machine of its own')
      const body = await readBody(request, guestLimits.jsonBodyBytesMax)
      return resizeGuest(body.toString('utf8'), clock)
    },
    [`POST ${guestPaths.limits}`]: async request => {
      const body = await readBody(request, guestLimits.jsonBodyBytesMax)
      return hearLimits(body.toString('utf8'), hooks.resized, clock)
    },
  }
  const server = listen(options, handlers)
  return {
    server,
    identity: () => identifier.identity(),
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}

function listen(options: AgentOptions, handlers: Readonly<Record<string, Handler>>): Server {
  const token = digest(options.token)
  const server = createServer({
    maxHeaderSize: guestLimits.headersBytesMax,
    requestTimeout: guestLimits.stateTransferMs,
  })
  server.maxConnections = guestLimits.connectionsMax
  server.on('request', (request, response) => {
    // Answers are short-lived and the host opens a connection for each: nothing is kept open.
    response.setHeader('connection', 'close')
    const cut = options.clock.after(guestLimits.stateTransferMs, () => request.socket.destroy())
    response.on('close', cut)
    void serve(request, response, token, handlers)
  })
  // The application is of more worth than its agent: a failure to listen is told, and found by the host's ping.
  server.on('error', error => process.emitWarning(`tidegate guest agent: ${error.message}`))
  if ('socketPath' in options.listen) {
    // The path is this instance's own. A socket there is of an earlier process, and listening on it would fail.
    const path = options.listen.socketPath
    rmSync(path, { force: true })
    server.once('listening', () => chmodSync(path, 0o600))
    server.listen(path)
  } else {
    server.listen(options.listen.port)
  }
  server.unref()
  return server
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  token: Buffer,
  handlers: Readonly<Record<string, Handler>>,
): Promise<void> {
  try {
    const given = digest((request.headers.authorization ?? '').replace(/^Bearer /i, ''))
    if (!timingSafeEqual(given, token))
      throw new Refusal('unauthorized', 'the bearer token is missing or wrong')
    const key = `${request.method} ${request.url}`
    const handler = Object.hasOwn(handlers, key) ? handlers[key] : undefined
    if (!handler) throw new Refusal('not_found', `${key}: no such request`)
    const answer = await handler(request, response)
    if (!response.headersSent && !response.destroyed) answerJson(response, 200, answer)
  } catch (error) {
    // A state that was begun can only be cut: the missing last chunk tells the host.
    if (response.headersSent) return void response.destroy()
    const code: GuestFailureCode = error instanceof Refusal ? error.code : 'hook_failed'
    const message = error instanceof Error ? error.message : String(error)
    answerJson(response, guestFailures[code], { error: { code, message } })
  }
}

function answerJson(response: ServerResponse, status: number, body: unknown): void {
  const bytes = Buffer.from(JSON.stringify(body))
  response
    .writeHead(status, { 'content-type': 'application/json', 'content-length': bytes.length })
    .end(bytes)
}

/** Equal lengths for the constant-time comparison, whatever was sent. */
const digest = (token: string): Buffer => createHash('sha256').update(token).digest()
