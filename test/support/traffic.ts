/**
 * For tests of traffic: the real listener, exchange, routing and engine on one loop, in front of backends that a test made, and
 * clients that speak raw bytes. Only the table is written by hand. `close()` takes everything down.
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { type Clock, systemClock } from '../../lib/clock.ts'
import { Board } from '../../lib/cluster/board.ts'
import type { TableCluster, TableData } from '../../lib/cluster/table.ts'
import type {
  BalanceKind,
  ListenerConfig,
  OverloadConfig,
  ResilienceConfig,
  TimeoutsConfig,
  UpstreamTlsConfig,
} from '../../lib/config/config.ts'
import { silentLog } from '../../lib/log.ts'
import { Door } from '../../lib/proxy/door.ts'
import { type DataPlaneContext, Exchanges } from '../../lib/proxy/exchanges.ts'
import { type EngineName, Forwards } from '../../lib/proxy/forward/forward.ts'
import { createListener, type Listener } from '../../lib/proxy/listener.ts'
import { Mirrors } from '../../lib/proxy/mirror.ts'
import type { RowCounter, ThreadFact } from '../../lib/proxy/observe/counters.ts'
import type { ExchangeRecord } from '../../lib/proxy/observe/exchange-record.ts'
import { Observation } from '../../lib/proxy/observe/observation.ts'
import { Observer, type ObserveSettings } from '../../lib/proxy/observe/observer.ts'
import { unobserved } from '../../lib/proxy/plane-memory.ts'
import { ordinaryOverload } from '../../lib/proxy/plane-settings.ts'
import { machineGauges } from '../../lib/proxy/resilience/gauges.ts'
import { Guards } from '../../lib/proxy/resilience/guards.ts'
import { type Gauges, Overload } from '../../lib/proxy/resilience/overload.ts'
import { plainResilience } from '../../lib/proxy/resilience/plain.ts'
import { SharedLimits } from '../../lib/proxy/resilience/shared-limits.ts'
import { RouteTable } from '../../lib/proxy/route-table.ts'
import type { TlsHolder } from '../../lib/proxy/tls/holder.ts'
import { parseTrustedProxies } from '../../lib/proxy/trusted-proxies.ts'
import { Tunnels } from '../../lib/proxy/tunnel.ts'
import { Waking, type Wanted } from '../../lib/proxy/waking.ts'
import { plainTableBalance } from './plain-balance.ts'

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
  readonly wanted?: (wanted: readonly Wanted[]) => void
  readonly observe?: ObserveSettings
  /** How the backends are spoken to. */
  readonly protocol?: 'http1' | 'h2'
  readonly upstreamTls?: UpstreamTlsConfig
  /** Of the front listener. */
  readonly listener?: Partial<ListenerConfig>
  /** Certificates for both sides. */
  readonly tls?: TlsHolder
  readonly balance?: BalanceKind
  readonly resilience?: Partial<ResilienceConfig>
  /** Clusters besides `web`, without routes: for splits and mirrors. Their backends are `<cluster>0` … on the slots that follow. */
  readonly others?: Readonly<Record<string, OtherCluster>>
  readonly random?: () => number
  readonly overload?: Partial<OverloadConfig>
  readonly gauges?: Gauges
}

export interface OtherCluster {
  readonly backends: readonly number[]
  readonly affinity?: TableData['clusters'][number]['affinity']
  readonly resilience?: Partial<ResilienceConfig>
}

export interface FrontDoor {
  readonly port: number
  readonly url: string
  readonly board: Board
  readonly listener: Listener
  readonly context: DataPlaneContext
  readonly table: RouteTable
  /** Of the exchanges that are over. */
  readonly records: readonly ExchangeRecord[]
  /** What the one thread counts. */
  facts(): Readonly<Record<ThreadFact, number>>
  /** What it counts of a cluster (`web`). */
  counts(cluster?: string): Readonly<Record<RowCounter, number>>
  /** The next generation: `web` with these differences. */
  publish(web: Partial<TableCluster>): void
  /** What is inside the cluster's circuit, and waits before it. */
  circuit(cluster?: string): { requests: number; tunnels: number; pending: number }
  close(): Promise<void>
}

export async function openFrontDoor(options: FrontDoorOptions): Promise<FrontDoor> {
  const clock = options.clock ?? systemClock
  const board = Board.create(1)
  const data = tableOf(options, board)
  const limits = new SharedLimits(1, randomBytes)
  const guards = new Guards(limits.of(data), 0, clock)
  const random = options.random ?? Math.random
  const tableFrom = (data: TableData, before?: RouteTable) =>
    new RouteTable(data, board, 0, before, random, cluster => guards.of(cluster), clock.now)
  const table = tableFrom(data)
  let newest = table
  const publish = (web: Partial<TableCluster>) => {
    const { generation, clusters, ...rest } = newest.data
    const next = [{ ...clusters[0]!, ...web }, ...clusters.slice(1)]
    newest = tableFrom({ ...rest, generation: generation + 1, clusters: next }, newest)
  }
  const { context, records, facts, counts } = contextOf(options, data, clock, () => newest)
  const engine = options.engine ?? engineUnderTest
  const config = { host: '127.0.0.1', port: 0, engine, ...options.listener }
  const { listener, port } = await openListener(config, context, options.tls)
  const close = async () => {
    context.tunnels.cutAll()
    listener.destroy()
    context.mirrors.close()
    context.forwards.close()
    context.overload.close()
    guards.close()
    await context.observer.close()
    await until(() => context.exchanges.size === 0 && context.tunnels.size === 0, 'everything is over')
  }
  const url = `http://127.0.0.1:${port}`
  const circuit = (cluster = 'web') => limits.counts(cluster)!
  return { port, url, board, listener, context, table, records, facts, counts, publish, circuit, close }
}

/** A door, and who its connections go to for good. */
async function openListener(config: ListenerConfig, context: DataPlaneContext, tls?: TlsHolder) {
  const listener = createListener(config, context, tls ?? null)
  const door = await Door.open(config, { reusePort: false, log: silentLog, receiver: listener.accept })
  const ended = (end: () => void) => () => {
    door.close()
    end()
  }
  const both = { ...listener, stop: ended(listener.stop), destroy: ended(listener.destroy) }
  return { listener: both, port: door.port }
}

function tableOf(options: FrontDoorOptions, board: Board): TableData {
  let slot = 0
  const memberAt = (id: string, port: number) => {
    board.admit(slot, 1, 'any')
    return { id, incarnation: `${id}-1`, host: '127.0.0.1', port, weight: 1, slot: slot++, epoch: 1 }
  }
  const common = {
    balance: options.balance ?? 'round_robin',
    ...plainTableBalance,
    timeouts: {
      connectMs: 2_000,
      headerMs: 10_000,
      idleMs: 10_000,
      tunnelIdleMs: 60_000,
      ...options.timeouts,
    },
    protocol: options.protocol ?? 'http1',
    tls: options.upstreamTls ?? null,
  } as const
  const web = {
    ...common,
    id: 'web',
    routes: options.routes ?? [{ host: '*', path: '/' }],
    affinity: options.affinity ?? ({ method: 'none' } as const),
    resilience: { ...plainResilience, ...options.resilience },
    members: options.backends.map((port, at) => memberAt(`b${at}`, port)),
  }
  const others = Object.entries(options.others ?? {}).map(([id, { backends, affinity, resilience }]) => ({
    ...common,
    id,
    routes: [],
    affinity: affinity ?? ({ method: 'none' } as const),
    resilience: { ...plainResilience, ...resilience },
    members: backends.map((port, at) => memberAt(`${id}${at}`, port)),
  }))
  const affinityKeys = [{ id: 1, key: new Uint8Array(32).fill(7) }]
  return { generation: 1, affinityKeys, clusters: [web, ...others] }
}

function contextOf(
  options: FrontDoorOptions,
  data: TableData,
  clock: Clock,
  table: () => RouteTable,
): Pick<FrontDoor, 'context' | 'facts' | 'counts'> & { records: ExchangeRecord[] } {
  const random = options.random ?? Math.random
  const observation = new Observation(1, options.observe ?? unobserved)
  observation.assign(data.clusters)
  const observer = new Observer(observation.init(), { thread: 0, clock, log: silentLog, random })
  const records: ExchangeRecord[] = []
  const over = observer.over.bind(observer)
  observer.over = record => {
    over(record)
    records.push(record)
  }
  const forwards = new Forwards({ clock, ...(options.tls ? { tls: options.tls } : {}) })
  const context: DataPlaneContext = {
    table,
    forwards,
    mirrors: new Mirrors(forwards),
    overload: new Overload({
      // A machine that is busy with other tests makes this loop late: only who asks for it is refused for that.
      config: { ...ordinaryOverload, maxEventLoopDelayMs: 60_000, ...options.overload },
      threads: 1,
      gauges: options.gauges ?? machineGauges,
      clock,
      changed: () => {},
    }),
    waking: new Waking({
      clock,
      threads: 1,
      serves: cluster => table().serves(cluster),
      tell: wanted => options.wanted?.(wanted),
    }),
    observer,
    random,
    exchanges: new Exchanges(),
    tunnels: new Tunnels({ clock }),
    trustedProxies: parseTrustedProxies(options.trustedProxies ?? []),
    debugHeaders: options.debugHeaders ?? false,
    noteSession: () => {},
    clock,
    log: silentLog,
    stopping: options.stopping ?? (() => false),
  }
  const facts = () => observation.counters.thread(0)
  const counts = (cluster = 'web') => observation.counters.row(observation.rows().get(cluster)!).counters
  return { context, records, facts, counts }
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
  limitMs = 120_000,
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
