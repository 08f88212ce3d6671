/**
 * For tests of traffic: the real listener, exchange, routing and engine on one loop, in front of backends that a test made, and
 * clients that speak raw bytes. Only the table is written by hand. `close()` takes everything down.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { type Clock, systemClock } from '../../lib/clock.ts'
import { Board } from '../../lib/cluster/board.ts'
import type { TableData } from '../../lib/cluster/table.ts'
import type { TimeoutsConfig } from '../../lib/config/config.ts'
import { silentLog } from '../../lib/log.ts'
import { type DataPlaneContext, Exchanges } from '../../lib/proxy/exchange.ts'
import { type EngineName, Forwards } from '../../lib/proxy/forward/forward.ts'
import { type Listener, openListener } from '../../lib/proxy/listener.ts'
import { RouteTable } from '../../lib/proxy/route-table.ts'
import { parseTrustedProxies } from '../../lib/proxy/trusted-proxies.ts'
import { Tunnels } from '../../lib/proxy/tunnel.ts'

/** The same suites run on every engine: see `test/contract/engine`. */
let engineUnderTest: EngineName = 'relay'
export function useEngine(engine: EngineName): void {
  engineUnderTest = engine
}

export interface FrontDoorOptions {
  /** Backend ports on 127.0.0.1, in order `b0`, `b1`, … */
  readonly backends: readonly number[]
  readonly clock?: Clock
  readonly timeouts?: Partial<TimeoutsConfig>
  readonly trustedProxies?: readonly string[]
  readonly debugHeaders?: boolean
  readonly affinity?: TableData['clusters'][number]['affinity']
  readonly routes?: TableData['clusters'][number]['routes']
  /** Left out: the one under test. */
  readonly engine?: EngineName
  readonly stopping?: () => boolean
}

export interface FrontDoor {
  readonly port: number
  readonly url: string
  readonly board: Board
  readonly listener: Listener
  readonly context: DataPlaneContext
  readonly table: RouteTable
  close(): Promise<void>
}

export async function openFrontDoor(options: FrontDoorOptions): Promise<FrontDoor> {
  const clock = options.clock ?? systemClock
  const board = Board.create(1)
  const members = options.backends.map((port, slot) => {
    board.admit(slot, 1, 'any')
    const id = `b${slot}`
    return { id, incarnation: `${id}-1`, host: '127.0.0.1', port, weight: 1, slot, epoch: 1 }
  })
  const data: TableData = {
    generation: 1,
    affinityKeys: [{ id: 1, key: new Uint8Array(32).fill(7) }],
    clusters: [
      {
        id: 'web',
        routes: options.routes ?? [{ host: '*', path: '/' }],
        balance: 'round_robin',
        affinity: options.affinity ?? { method: 'none' },
        timeouts: {
          connectMs: 2_000,
          headerMs: 10_000,
          idleMs: 10_000,
          tunnelIdleMs: 60_000,
          ...options.timeouts,
        },
        members,
      },
    ],
  }
  const table = new RouteTable(data, board, 0)
  const context: DataPlaneContext = {
    table: () => table,
    forwards: new Forwards({ clock }),
    exchanges: new Exchanges(),
    tunnels: new Tunnels({ clock }),
    trustedProxies: parseTrustedProxies(options.trustedProxies ?? []),
    debugHeaders: options.debugHeaders ?? false,
    noteSession: () => {},
    clock,
    log: silentLog,
    stopping: options.stopping ?? (() => false),
  }
  const engine = options.engine ?? engineUnderTest
  const listener = await openListener({ host: '127.0.0.1', port: 0, engine }, context, { reusePort: false })
  const close = async () => {
    context.tunnels.cutAll()
    listener.destroy()
    context.forwards.close()
    await until(() => context.exchanges.size === 0 && context.tunnels.size === 0, 'everything is over')
  }
  const url = `http://127.0.0.1:${listener.port}`
  return { port: listener.port, url, board, listener, context, table, close }
}

export interface RawBackend {
  readonly port: number
  /** Everything received so far, all connections, latin1. */
  received(): string
  readonly sockets: Set<Socket>
  connections(): number
  close(): Promise<void>
}

/** A backend that is only a socket: it says and hears whatever `onData` likes. */
export async function openRawBackend(
  onData: (socket: Socket, receivedOnSocket: string) => void,
): Promise<RawBackend> {
  let received = ''
  let connections = 0
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    connections++
    sockets.add(socket)
    let own = ''
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    socket.on('data', chunk => {
      received += chunk.toString('latin1')
      own += chunk.toString('latin1')
      onData(socket, own)
    })
  })
  const port = await listenOn(server)
  return {
    port,
    sockets,
    received: () => received,
    connections: () => connections,
    close: async () => {
      for (const socket of sockets) socket.destroy()
      await closeServer(server)
    },
  }
}

/** Listens on a free port of 127.0.0.1. */
export async function listenOn(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

export async function closeServer(server: Server): Promise<void> {
  await new Promise<void>(resolve => server.close(() => resolve()))
}

export interface RawClient {
  readonly socket: Socket
  text(): string
  readonly closed: boolean
  send(text: string): void
  /** Waits until what came contains `what`. */
  expect(what: string): Promise<string>
  waitClosed(): Promise<string>
}

/** A client that writes bytes and keeps what comes, latin1. */
export async function rawClient(port: number, text = ''): Promise<RawClient> {
  const socket = connect(port, '127.0.0.1')
  let got = ''
  let closed = false
  socket.on('data', chunk => {
    got += chunk.toString('latin1')
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    closed = true
  })
  await once(socket, 'connect')
  if (text !== '') socket.write(text, 'latin1')
  const shown = () => JSON.stringify(got.slice(0, 300))
  return {
    socket,
    text: () => got,
    get closed() {
      return closed
    },
    send: more => void socket.write(more, 'latin1'),
    expect: async what => {
      await until(
        () => got.includes(what) || closed,
        () => `${JSON.stringify(what)} in ${shown()}`,
      )
      return got
    },
    waitClosed: async () => {
      await until(
        () => closed,
        () => `the connection to close after ${shown()}`,
      )
      return got
    },
  }
}

/** Waits for a condition; a test that would hang fails with `what` instead. */
export async function until(
  condition: () => boolean,
  what: string | (() => string),
  limitMs = 10_000,
): Promise<void> {
  const deadline = performance.now() + limitMs
  while (!condition()) {
    if (performance.now() > deadline) {
      throw new Error(`waited ${limitMs} ms for ${typeof what === 'string' ? what : what()}`)
    }
    await delay(5)
  }
}

export const inFlight = (door: FrontDoor, slot = 0) => door.board.total(slot, 'inFlight')
export const tunnelCount = (door: FrontDoor, slot = 0) => door.board.total(slot, 'tunnels')
