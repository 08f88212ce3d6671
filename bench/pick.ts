/**
 * What a pick costs in a cluster of 10,000 members, by balancer and affinity, and how long a change of that membership takes
 * until every thread serves by it.
 *
 *   node bench/pick.ts            all
 *   node bench/pick.ts peak       the picks whose name has that in it
 *
 * Every tenth member is closed to new clients, and weights are equal or from 1 to 10: all open and equal is the easy case. A
 * pick is what an exchange does: pick, enter, leave. Time is a data plane's: the clock is read once a turn of the event loop, which is
 * a batch here. All ways take turns, several times: a figure is the lower quartile over the batches of all its turns, since a slow
 * moment of the machine, which may last for seconds, is not the work's.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { systemClock } from '../lib/clock.ts'
import { Board } from '../lib/cluster/board.ts'
import { Clusters } from '../lib/cluster/clusters.ts'
import { compileTable } from '../lib/cluster/compile.ts'
import type { Member } from '../lib/cluster/member.ts'
import type { TableData } from '../lib/cluster/table.ts'
import type { AffinityConfig, BalanceKind, ClusterConfig } from '../lib/config/config.ts'
import { parseConfig } from '../lib/config/parse.ts'
import { Events } from '../lib/events.ts'
import { silentLog } from '../lib/log.ts'
import { TurnClock } from '../lib/proxy/observe/turn-clock.ts'
import { type Picked, type PickRequest, pick } from '../lib/proxy/pick.ts'
import { Plane } from '../lib/proxy/plane.ts'
import { plainGuard } from '../lib/proxy/resilience/guards.ts'
import { RouteTable } from '../lib/proxy/route-table.ts'
import { freePort } from '../test/support/ports.ts'

export interface PickFigure {
  readonly name: string
  readonly microseconds: number
}

export interface PublishFigure {
  readonly name: string
  /** From the call to the last thread's acknowledgement, with two threads. */
  readonly milliseconds: number
}

const members = 10_000
const clients = 4_096
const rounds = 7
const batchesPerRound = 12
const picksPerBatch = 5_000
/** Batches of the first round, in which the code is still being compiled; and publishes. */
const warmUp = 3
const publishes = 19
const nobody: ReadonlySet<Member> = new Set()
const keys = [{ id: 1, key: new Uint8Array(32).fill(1) }]

interface Way {
  readonly name: string
  readonly balance: BalanceKind
  readonly affinity: AffinityConfig
  readonly weightOf: (at: number) => number
  /** The client brings the cookie that it was given before. */
  readonly returning?: true
}

const none: AffinityConfig = { method: 'none' }
const cookie: AffinityConfig = { method: 'cookie', name: 'tidegate', ttlSeconds: 3600 }
const byHeader: AffinityConfig = {
  method: 'consistent_hashing',
  parameter: { from: 'header', name: 'x-user' },
}
const kinds: readonly BalanceKind[] = [
  'round_robin',
  'random',
  'least_request',
  'peak_ewma',
  'consistent_hash',
]
const equal = () => 1
const unequal = (at: number) => 1 + (at % 10)

const ways: readonly Way[] = [
  ...kinds.flatMap(balance => [
    { name: `${balance}, equal weights`, balance, affinity: none, weightOf: equal },
    { name: `${balance}, weights 1 to 10`, balance, affinity: none, weightOf: unequal },
  ]),
  { name: 'affinity client_ip', balance: 'random', affinity: { method: 'client_ip' }, weightOf: unequal },
  { name: 'affinity consistent_hashing, a header', balance: 'random', affinity: byHeader, weightOf: unequal },
  {
    name: 'affinity cookie, a client that comes back',
    balance: 'random',
    affinity: cookie,
    weightOf: unequal,
    returning: true,
  },
  {
    name: 'affinity cookie, first visit: a session is sealed',
    balance: 'random',
    affinity: cookie,
    weightOf: unequal,
  },
]

export async function measurePick(part = ''): Promise<readonly PickFigure[]> {
  const asked = ways.filter(({ name }) => name.includes(part)).map(prepare)
  for (let round = 0; round < rounds; round++) for (const way of asked) await measureRound(way)
  return asked.map(({ name, micros }) => ({ name, microseconds: quartile(micros.slice(warmUp)) }))
}

/** The slowest of several kinds of cluster. */
export async function measurePublish(): Promise<PublishFigure> {
  const figures = await measurePublishes()
  return figures.reduce((worst, figure) => (figure.milliseconds > worst.milliseconds ? figure : worst))
}

export async function measurePublishes(): Promise<readonly PublishFigure[]> {
  const figures: PublishFigure[] = []
  for (const way of ways.filter(({ name }) => /weights 1 to 10|comes back/.test(name)))
    figures.push({ name: way.name, milliseconds: await publishWay(way) })
  return figures
}

interface Prepared {
  readonly name: string
  readonly once: (request: PickRequest) => Picked
  readonly requests: readonly PickRequest[]
  /** A pick's, one for each batch so far. */
  readonly micros: number[]
}

function prepare(way: Way): Prepared {
  const board = Board.create(2)
  for (let slot = 0; slot < members; slot++) board.admit(slot, 1, slot % 10 === 9 ? 'none' : 'any')
  const turns = new TurnClock(systemClock)
  const now = () => turns.wall(turns.now())
  const table = new RouteTable(tableOf(way), board, 0, undefined, Math.random, () => plainGuard, now)
  const cluster = table.match('bench', '/')!
  const requests = Array.from({ length: clients }, (_, client) => requestOf(client))
  const once = (request: PickRequest) => {
    const picked = pick(cluster, request, nobody)
    if (picked.member === null) throw new Error(picked.reason)
    picked.member.leave('ok', 5)
    return picked
  }
  if (way.returning)
    for (const [at, request] of requests.entries()) {
      const pair = once(request).setCookie!.split(';', 1)[0]!
      requests[at] = { ...request, headers: { ...request.headers, cookie: pair } }
    }
  return { name: way.name, once, requests, micros: [] }
}

async function measureRound({ once, requests, micros }: Prepared): Promise<void> {
  for (let batch = 0; batch < batchesPerRound; batch++) {
    await turn()
    const begun = performance.now()
    for (let n = 0; n < picksPerBatch; n++) once(requests[n % clients]!)
    micros.push(((performance.now() - begun) * 1000) / picksPerBatch)
  }
}

async function publishWay(way: Way): Promise<number> {
  const board = Board.create(2)
  const port = await freePort()
  const parts = { clock: systemClock, events: new Events(systemClock.now), log: silentLog, board }
  const plane = new Plane({
    ...parts,
    threads: 2,
    listeners: [{ host: '127.0.0.1', port }],
    trustedProxies: [],
    debugHeaders: false,
    onSessions: () => {},
  })
  const probe = async () => ({ ok: true, reason: 'answered' }) as const
  const clusters = new Clusters({
    ...parts,
    configs: [configOf(way)],
    port: plane,
    affinityKeys: keys,
    probe,
  })
  const backendOf = (at: number) => ({
    ...{ id: `m${at}`, host: '127.0.0.1', port: 1, weight: way.weightOf(at), incarnation: `life-${at}` },
    ...{ instance: null, verified: true, mark: null },
  })
  try {
    clusters.start([])
    await plane.start(clusters.table())
    await clusters.change('bench', { add: Array.from({ length: members }, (_, at) => backendOf(at)) })
    const times: number[] = []
    for (let n = 0; n < publishes; n++) {
      const begun = performance.now()
      await clusters.change('bench', { add: [backendOf(members + n)], remove: [`m${n * 7}`] })
      times.push(performance.now() - begun)
    }
    return quartile(times.slice(warmUp))
  } finally {
    clusters.close()
    await plane.stop(0)
  }
}

function configOf({ balance, affinity }: Pick<Way, 'balance' | 'affinity'>): ClusterConfig {
  const text = JSON.stringify({
    clusters: [
      { id: 'bench', backends: [{ id: 'first', address: '127.0.0.1:1' }], health: { interval: '1h' } },
    ],
  })
  const parsed = parseConfig(text, { file: 'bench', directory: '/', cpus: 1 })
  if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
  return { ...parsed.config.clusters[0]!, balance, affinity }
}

function tableOf(way: Way): TableData {
  const listed = Array.from({ length: members }, (_, slot) => ({
    ...{ id: `m${slot}`, incarnation: `life-of-m${slot}`, host: '127.0.0.1', port: 1 },
    ...{ weight: way.weightOf(slot), zone: null, slot, epoch: 1 },
  }))
  return compileTable(1, [{ config: configOf(way), members: listed }], keys)
}

function requestOf(client: number): PickRequest {
  return {
    clientIp: `10.${client >> 8}.${client & 255}.7`,
    path: '/',
    headers: { host: 'bench', 'x-user': `user-${client}` },
    secure: false,
    nowMs: 1_800_000_000_000,
  }
}

/** The lower one: a slow moment of the machine is not the work's. */
function quartile(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 4)]!
}

if (process.argv[1] === import.meta.filename) {
  const part = process.argv[2]
  for (const { name, microseconds } of await measurePick(part))
    process.stdout.write(`${name.padEnd(52)} ${microseconds.toFixed(2).padStart(6)} µs\n`)
  if (part !== undefined) process.exit()
  for (const { name, milliseconds } of await measurePublishes())
    process.stdout.write(`${`publish, ${name}`.padEnd(52)} ${milliseconds.toFixed(1).padStart(6)} ms\n`)
}
