/**
 * Continuous load as clients make it: keep-alive connections with a cookie jar each, and WebSockets that talk all the time.
 * Everything that goes wrong is kept, with what was seen; nothing is retried. Bounded: it stops by itself after `limitMs`.
 *
 * It goes by the machine: a client pauses longer where its answers take long, so that those on an emulated one that two others share
 * are at work half of the time, and do not stand in a line that only grows.
 */
import { Agent, type IncomingMessage, request } from 'node:http'
import { WebSocket } from 'ws'

export interface Answer {
  readonly client: number
  readonly status: number
  readonly instance: string
  readonly atMs: number
}

export interface Failure {
  readonly client: number
  readonly what: string
  readonly atMs: number
}

export interface LoadReport {
  readonly answers: readonly Answer[]
  readonly failures: readonly Failure[]
  readonly tunnels: readonly TunnelReport[]
}

export interface TunnelReport {
  /** As its greeting said; empty: none came. */
  readonly instance: string
  /** It was answered with 101. */
  readonly upgraded: boolean
  readonly openedAtMs: number
  readonly closedAtMs: number | null
  readonly code: number | null
  /** What came with the close code. */
  readonly reason: string
  readonly echoed: number
  /** An echo that did not come back as it was sent, or any protocol error. */
  readonly faults: readonly string[]
}

export interface LoadOptions {
  readonly port: number
  readonly connections: number
  readonly webSockets: number
  /** Each client's pause between an answer and its next request, at least; and so many times what the answer took. */
  readonly pauseMs: number
  readonly timeoutMs?: number
  readonly limitMs: number
  /** Reopen a WebSocket that was closed with 1001 or 1012, as a good client does. */
  readonly reopen: boolean
}

/** The whole story of a WebSocket in one line, at the times of the clock by which events are stamped. */
export function tellTunnel(tunnel: TunnelReport): string {
  const { instance, upgraded, openedAtMs, closedAtMs, code, reason, echoed, faults } = tunnel
  const end =
    closedAtMs === null ? 'open' : `closed ${clockTime(closedAtMs)} with ${code} ${reason}`.trimEnd()
  return [
    `WebSocket on ${instance || 'nobody'}`,
    `asked for ${clockTime(openedAtMs)}`,
    upgraded ? `upgraded, ${echoed} echoed` : 'never upgraded',
    end,
    ...faults,
  ].join(', ')
}

/** Of a time of `performance.now()`. */
const clockTime = (ms: number) => new Date(performance.timeOrigin + ms).toISOString().slice(11, 23)

/** A client pauses for so many times what its last answer took. */
const pauseShare = 3
const pacedBy = (pauseMs: number, tookMs: number) => pause(Math.max(pauseMs, pauseShare * tookMs))

/** Clients that come together at the start. */
const atOnce = 8

export class Load {
  readonly #options: LoadOptions
  readonly #agent: Agent
  readonly #answers: Answer[] = []
  readonly #failures: Failure[] = []
  readonly #tunnels: Tunnel[] = []
  readonly #loops: Promise<void>[] = []
  readonly #sockets = new Set<WebSocket>()
  #stopped = false

  constructor(options: LoadOptions) {
    this.#options = options
    this.#agent = new Agent({ keepAlive: true, maxSockets: options.connections })
  }

  /**
   * Resolves when every client had a first answer and every WebSocket its greeting. They come some at a time, each group when the
   * one before was served: all at once would drown an emulated machine that has just started, and load is not what that tests.
   */
  async start(): Promise<void> {
    const deadline = performance.now() + this.#options.limitMs
    const { connections, webSockets } = this.#options
    const first = (client: number) =>
      new Promise<void>(done => this.#loops.push(this.#client(client, deadline, done)))
    for (let from = 0; from < connections; from += atOnce) {
      await Promise.all(span(from, Math.min(connections, from + atOnce)).map(first))
    }
    for (let from = 0; from < webSockets; from += atOnce) {
      await Promise.all(span(from, Math.min(webSockets, from + atOnce)).map(() => this.#open()))
    }
  }

  get failures(): readonly Failure[] {
    return this.#failures
  }

  get count(): number {
    return this.#answers.length
  }

  /** Resolves when `more` further answers have come. */
  async further(more: number): Promise<void> {
    const target = this.#answers.length + more
    while (this.#answers.length < target && !this.#stopped && this.#failures.length === 0) await pause(20)
  }

  async stop(): Promise<LoadReport> {
    this.#stopped = true
    await Promise.all(this.#loops)
    const open = this.#tunnels.map(tunnel => tunnel.report())
    for (const socket of this.#sockets) socket.terminate()
    this.#agent.destroy()
    return { answers: this.#answers, failures: this.#failures, tunnels: open }
  }

  async #client(client: number, deadline: number, first: () => void): Promise<void> {
    const jar = new Map<string, string>()
    const { port, pauseMs, timeoutMs = 30_000 } = this.#options
    while (!this.#stopped && performance.now() < deadline) {
      const askedAtMs = performance.now()
      try {
        const { status, body } = await get(port, '/whoami', { agent: this.#agent, jar, timeoutMs })
        const instance = status === 200 ? (JSON.parse(body) as { instance_id: string }).instance_id : ''
        this.#answers.push({ client, status, instance, atMs: performance.now() })
        if (status !== 200) this.#fail(client, `status ${status}: ${body.slice(0, 200)}`)
      } catch (error) {
        this.#fail(
          client,
          error instanceof Error
            ? `${(error as NodeJS.ErrnoException).code ?? ''} ${error.message}`
            : String(error),
        )
      }
      first()
      await pacedBy(pauseMs, performance.now() - askedAtMs)
    }
  }

  #fail(client: number, what: string): void {
    this.#failures.push({ client, what, atMs: performance.now() })
  }

  #open(): Promise<void> {
    return new Promise(ready => {
      const socket = new WebSocket(`ws://127.0.0.1:${this.#options.port}/ws`)
      const tunnel = new Tunnel(socket, this.#options.pauseMs, ready)
      this.#sockets.add(socket)
      this.#tunnels.push(tunnel)
      socket.on('close', code => {
        this.#sockets.delete(socket)
        const asked = code === 1001 || code === 1012
        if (this.#options.reopen && asked && !this.#stopped) void this.#open()
      })
    })
  }
}

/** One WebSocket that sends a numbered message after each echo of the last. */
class Tunnel {
  readonly #openedAtMs = performance.now()
  readonly #faults: string[] = []
  #instance = ''
  #upgraded = false
  #closedAtMs: number | null = null
  #code: number | null = null
  #reason = ''
  #echoed = 0
  #sent = ''
  #sentAtMs = performance.now()

  constructor(socket: WebSocket, pauseMs: number, ready: () => void) {
    socket.on('upgrade', () => {
      this.#upgraded = true
    })
    socket.on('message', (data, binary) => {
      const text = binary ? `binary of ${(data as Buffer).length}` : String(data)
      if (this.#instance === '') {
        this.#instance = (JSON.parse(text) as { instance_id: string }).instance_id
        ready()
      } else if (text === this.#sent) this.#echoed++
      else this.#faults.push(`sent ${this.#sent}, got ${text.slice(0, 80)}`)
      void pacedBy(pauseMs, performance.now() - this.#sentAtMs).then(() => {
        this.#sentAtMs = performance.now()
        this.#sent = `${this.#echoed} ${'x'.repeat((this.#echoed * 97) % 2_000)}`
        if (socket.readyState === socket.OPEN) socket.send(this.#sent)
      })
    })
    socket.on('error', error => {
      this.#faults.push(error.message)
      ready()
    })
    socket.on('close', (code, reason) => {
      this.#code = code
      this.#reason = reason.toString()
      this.#closedAtMs = performance.now()
      ready()
    })
  }

  report(): TunnelReport {
    return {
      instance: this.#instance,
      upgraded: this.#upgraded,
      openedAtMs: this.#openedAtMs,
      closedAtMs: this.#closedAtMs,
      code: this.#code,
      reason: this.#reason,
      echoed: this.#echoed,
      // As of now: what `stop` itself breaks is no fault.
      faults: [...this.#faults],
    }
  }
}

export interface GetOptions {
  readonly agent?: Agent
  readonly jar?: Map<string, string>
  readonly method?: string
  readonly body?: string
  readonly host?: string
  readonly timeoutMs?: number
}

/** One request; keeps and sends the jar's cookies. Rejects on any transport fault. */
export function get(
  port: number,
  path: string,
  options: GetOptions = {},
): Promise<{ status: number; body: string; headers: IncomingMessage['headers'] }> {
  const cookie = [...(options.jar ?? [])].map(([name, value]) => `${name}=${value}`).join('; ')
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        host: options.host ?? '127.0.0.1',
        port,
        path,
        method: options.method ?? 'GET',
        agent: options.agent ?? false,
        headers: cookie ? { cookie } : {},
        timeout: options.timeoutMs ?? 30_000,
      },
      response => {
        const chunks: Buffer[] = []
        for (const line of response.headers['set-cookie'] ?? []) {
          const [, name, value] = /^([^=]+)=([^;]*)/.exec(line) ?? []
          if (name !== undefined) options.jar?.set(name, value ?? '')
        }
        response.on('data', chunk => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          resolve({
            status: response.statusCode ?? 0,
            body: Buffer.concat(chunks).toString(),
            headers: response.headers,
          })
        })
      },
    )
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer in time')))
    outgoing.on('error', reject)
    outgoing.end(options.body)
  })
}

/** Pacing of a client, not synchronisation. */
const pause = (ms: number) => new Promise<void>(resolve => setTimeout(resolve, ms))

const span = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)
