/**
 * A whole scaling controller over fake nodes in virtual time, that can be killed and started again: the store and the nodes
 * stay, everything else goes. It watches at every moment what must never happen: a table that names somebody who does not
 * run as himself, and an instance that ends while a table still names it.
 */
import type { BackendView } from '../../lib/cluster/backend.ts'
import { Board } from '../../lib/cluster/board.ts'
import { Clusters } from '../../lib/cluster/clusters.ts'
import type { TableData } from '../../lib/cluster/table.ts'
import type { ClusterConfig, NodeConfig } from '../../lib/config/config.ts'
import { TidegateError } from '../../lib/errors.ts'
import { Events } from '../../lib/events.ts'
import { silentLog } from '../../lib/log.ts'
import { plainResilience } from '../../lib/proxy/resilience/plain.ts'
import type { OperationRequest, OperationView } from '../../lib/scaling/operation.ts'
import { Scaling } from '../../lib/scaling/scaling.ts'
import { createMemoryStore } from '../../lib/store/memory.ts'
import type { Store, Write } from '../../lib/store/store.ts'
import { drainPolicy } from './drain-policy.ts'
import { FakeNode, type Fault, hung } from './fake-driver.ts'
import { healthConfig } from './health-config.ts'
import { plainBalance } from './plain-balance.ts'
import { VirtualTime } from './virtual-time.ts'

const MiB = 1024 ** 2
/** Between two rounds of reconcile. */
export const roundMs = 30_000

export interface LabOptions {
  /** What each node may hold of snapshots. */
  readonly snapshots?: NonNullable<NodeConfig['snapshots']>
  readonly cluster?: Partial<ClusterConfig>
  readonly nodes?: readonly { readonly id: string; readonly cpus: number }[]
  /** Chance, 0 ≤ x < 1, for everything that the product would take from the machine. */
  readonly random?: () => number
  /** Default: one in memory. */
  readonly store?: Store
  /** Other clusters, of the same kind. */
  readonly others?: readonly string[]
  /** Default: its own. Whoever has no other lab beside this one may use one again. */
  readonly board?: Board
}

/** What may go wrong while one process lives. All silent by default. */
export interface Faults {
  driver?: (point: string, name: string) => Fault
  /** Asked before and after each write to the store, numbered from 1. */
  store?: (moment: 'before' | 'after', write: number) => Fault
  /** True: no thread takes this table. */
  publish?: () => boolean
}

/** Who looks on while it runs. */
export interface Watch {
  /** A batch that the store has taken. */
  onWrite?: (batch: readonly Write[]) => void
  /** A table that every thread has. */
  onTable?: (table: TableData) => void
  /** An instance that answered a check well. */
  onWell?: (name: string, incarnation: string | null) => void
  /** A round of reconcile has been through. */
  onReconciled?: () => Promise<void>
}

interface Process {
  readonly scaling: Scaling
  readonly clusters: Clusters
  readonly events: Events
  alive: boolean
  /** Resolves when it crashed. */
  readonly crashed: Promise<void>
}

export const clusterConfig = (over: Partial<ClusterConfig> = {}): ClusterConfig => ({
  id: 'web',
  routes: [{ host: '*', path: '/' }],
  balance: 'round_robin',
  ...plainBalance,
  affinity: { method: 'none' },
  backends: [],
  protocol: 'http1',
  tls: null,
  instance: {
    driver: 'process',
    port: 8080,
    resources: { cpus: 1, memoryBytes: 64 * MiB, diskBytes: MiB },
    cloneFrom: 'live',
    warmRequests: [],
    template: {},
  },
  drain: drainPolicy({ gracePeriodMs: 1_000 }),
  health: healthConfig({ intervalMs: 3_600_000 }),
  outlier: null,
  standby: { scaleToZero: null, warmPool: null },
  scaling: {
    minInstances: 1,
    maxInstances: 10,
    targetCpuUtilization: 0.6,
    scaleInCooldownSeconds: 0,
    scaleOutCooldownSeconds: 0,
  },
  timeouts: { connectMs: 1_000, headerMs: 1_000, idleMs: 1_000, tunnelIdleMs: 1_000 },
  resilience: plainResilience,
  ...over,
})

export class Lab {
  readonly time = new VirtualTime()
  readonly nodes: readonly FakeNode[]
  /** Another one may be given while no process lives. */
  store: Store
  config: ClusterConfig
  /** What must never happen and did. */
  readonly violations: string[] = []
  faults: Faults = {}
  watch: Watch = {}
  readonly board: Board
  readonly #random: (() => number) | undefined
  #nodeConfigs: readonly NodeConfig[]
  readonly #others: readonly string[]
  #process: Process | null = null
  #writes = 0
  #roundEndedMs: number | null = null

  constructor(options: LabOptions = {}) {
    this.config = clusterConfig(options.cluster)
    this.#others = options.others ?? []
    this.store = options.store ?? createMemoryStore()
    this.board = options.board ?? Board.create(1)
    this.#random = options.random
    const nodes = options.nodes ?? [{ id: 'n1', cpus: 32 }]
    this.nodes = nodes.map(({ id }, index) => new FakeNode(id, 20_000 + index * 10_000))
    for (const node of this.nodes) node.onEnd = name => this.#checkEnd(name)
    this.#nodeConfigs = nodes.map(({ id, cpus }) => ({
      id,
      driver: 'process',
      zone: 'a',
      capacity: { cpus, memoryBytes: 64 * 1024 * MiB, diskBytes: 64 * 1024 * MiB },
      directory: `/nowhere/${id}`,
      options: {},
      ...(options.snapshots ? { snapshots: options.snapshots } : {}),
    }))
  }

  get configs(): readonly ClusterConfig[] {
    const others = this.#others.map(id => ({ ...this.config, id, routes: [{ host: id, path: '/' }] }))
    return [this.config, ...others]
  }

  get nodeConfigs(): readonly NodeConfig[] {
    return this.#nodeConfigs
  }

  get scaling(): Scaling {
    return this.#process!.scaling
  }

  get clusters(): Clusters {
    return this.#process!.clusters
  }

  get events(): Events {
    return this.#process!.events
  }

  get alive(): boolean {
    return this.#process?.alive ?? false
  }

  /** How many writes the store has taken from the process that lives. */
  get writes(): number {
    return this.#writes
  }

  /** A new process over what is there. Resolves when it has recovered; false when it crashed on the way. */
  async boot(): Promise<boolean> {
    const process = this.#assemble()
    this.#process = process
    try {
      return await this.survive(async () => {
        process.clusters.start(await process.scaling.membership(), process.scaling.lost())
        await process.scaling.recover()
        await this.atRest(process.scaling)
      })
    } catch (error) {
      // It could not start, and ends.
      this.kill()
      throw error
    }
  }

  /** Lets `act` run as long as the process lives. False: it crashed. */
  async survive(act: () => Promise<unknown>): Promise<boolean> {
    const { crashed } = this.#process!
    return this.time.until(Promise.race([act().then(() => true), crashed.then(() => false)]))
  }

  /** Until nothing that was unfinished runs any more. */
  atRest(scaling: Scaling = this.scaling): Promise<void> {
    return this.meanwhile(this.settle(), scaling)
  }

  /** Rounds of reconcile go on, as they do in a process, until `work` is done. */
  async meanwhile<T>(work: Promise<T>, scaling: Scaling = this.scaling): Promise<T> {
    const clock = this.time.connect(() => this.alive)
    let done = false
    const doing = work.finally(() => {
      done = true
    })
    doing.catch(() => {})
    for (;;) {
      await Promise.race([doing, clock.sleep(roundMs)]).catch(() => {})
      if (done) return doing
      await this.#reconciled(scaling)
    }
  }

  /** One round of reconcile, or the end of the one that is under way. */
  reconcile(): Promise<void> {
    return this.#reconciled(this.scaling)
  }

  async #reconciled(scaling: Scaling): Promise<void> {
    await scaling.reconcile()
    const { reconcile: last } = scaling.report.numbers()
    // A process that has not recovered yet looks at nothing; and two may have waited for the same round.
    if (last === null || this.time.now - last.ageMs === this.#roundEndedMs) return
    this.#roundEndedMs = this.time.now - last.ageMs
    await this.watch.onReconciled?.()
  }

  /** Waits until no operation runs. */
  async settle(): Promise<void> {
    for (const { id: cluster } of this.configs)
      for (let id = this.scaling.running(cluster); id !== null; id = this.scaling.running(cluster))
        await this.scaling.wait(id, 3_600_000)
  }

  /** Starts an operation and waits for its end. */
  async operate(request: OperationRequest): Promise<OperationView> {
    const { id } = await this.time.until(this.scaling.start(this.config.id, request, 'test'))
    return this.time.until(this.scaling.wait(id, 3_600_000))
  }

  scaleTo(target: number, over: Partial<OperationRequest> = {}): Promise<OperationView> {
    const type = target > this.scaling.count(this.config.id) ? 'scale_out' : 'scale_in'
    const request = { type, target_count: target, immediate: false, drain_connections: true, ...over }
    return this.operate(request as OperationRequest)
  }

  /** A reload: what the cluster's section says from now on. */
  async reconfigure(over: Partial<ClusterConfig>): Promise<void> {
    this.config = { ...this.config, ...over }
    await this.time.until(this.clusters.reconfigure(this.configs))
  }

  backends(): readonly BackendView[] {
    return this.clusters.backends(this.config.id)
  }

  kill(): void {
    this.#end(this.#process!)
  }

  async close(): Promise<void> {
    if (this.alive) await this.time.until(this.scaling.close())
    this.#process?.clusters.close()
    this.kill()
  }

  #crash: () => void = () => {}

  #assemble(): Process {
    let crash = () => {}
    const crashed = new Promise<void>(resolve => {
      crash = resolve
    })
    const state = { alive: true }
    const alive = () => state.alive
    const clock = this.time.connect(alive)
    const events = new Events(clock.now, 10_000)
    const end = () => {
      state.alive = false
      crash()
    }
    this.#crash = end
    this.#writes = 0
    const probe = async (target: { host: string; port: number }) => {
      const instance = this.#find(target.port)
      const running = instance?.state === 'running'
      const ok = running && instance.healthy
      await clock.sleep(1)
      if (ok) this.watch.onWell?.(instance.name, instance.identity?.incarnation ?? null)
      if (running && (instance.busy || instance.memory.includes(hung)))
        return { ok: false, reason: 'no answer within 1s', silent: true }
      return { ok, reason: ok ? 'answered 200' : 'connect ECONNREFUSED' }
    }
    const { board } = this
    empty(board)
    const clusters = new Clusters({
      configs: this.configs,
      board,
      port: {
        publish: async table => {
          await clock.sleep(1)
          if (this.faults.publish?.()) throw new TidegateError('internal', 'no thread acknowledged')
          this.#checkTable(table)
          this.watch.onTable?.(table)
        },
        closeTunnels: () => {},
        keepTunnels: () => {},
        cut: slot => board.add(0, slot, 'inFlight', -board.total(slot, 'inFlight')),
      },
      clock,
      events,
      log: silentLog,
      affinityKeys: [{ id: 1, key: new Uint8Array(32) }],
      probe,
      random: () => 0.5,
    })
    const nodes = this.nodes.map((node, index) => ({
      config: this.#nodeConfigs[index]!,
      driver: node.connect({
        clock,
        alive,
        fault: (point, name) => this.faults.driver?.(point, name) ?? null,
        crash: end,
      }),
    }))
    const store = this.#faulty(alive, end)
    const log = silentLog
    const random = this.#random
    const bytes = (count: number) => Uint8Array.from({ length: count }, () => Math.floor(random!() * 256))
    const scaling = new Scaling({
      ...{ clusters, nodes, store, clock, events, log, installation: 'ours', probe },
      ...(random ? { random: bytes } : {}),
    })
    const process = { scaling, clusters, events, crashed }
    return Object.defineProperty(process, 'alive', { get: alive }) as Process
  }

  #end(process: Process): void {
    process.clusters.close()
    this.#crash()
  }

  #faulty(alive: () => boolean, crash: () => void): Store {
    const never = () => new Promise<never>(() => {})
    const guard =
      <A extends unknown[], R>(read: (...args: A) => Promise<R>) =>
      (...args: A): Promise<R> =>
        alive() ? read(...args) : never()
    const stage = async (moment: 'before' | 'after', write: number) => {
      const fault = this.faults.store?.(moment, write) ?? null
      if (fault === 'crash') {
        crash()
        return never()
      }
      if (fault !== null) throw new TidegateError('store_unavailable', 'disk full')
    }
    const { store } = this
    return {
      write: async batch => {
        if (!alive()) return never()
        const write = ++this.#writes
        await stage('before', write)
        await store.write(batch)
        this.watch.onWrite?.(batch)
        await stage('after', write)
        if (!alive()) await never()
      },
      operations: guard(filter => store.operations(filter)),
      operation: guard(id => store.operation(id)),
      journal: guard(id => store.journal(id)),
      membership: guard(() => store.membership()),
      marks: guard(() => store.marks()),
      history: guard((cluster, limit) => store.history(cluster, limit)),
      value: guard(key => store.value(key)),
      flaws: guard(() => store.flaws()),
      close: async () => {},
    }
  }

  #find(port: number) {
    return this.nodes.map(node => node.atPort(port)).find(instance => instance !== null)
  }

  #checkTable(table: TableData): void {
    for (const cluster of table.clusters)
      for (const member of cluster.members) {
        const instance = this.#find(member.port)
        if (instance?.identity?.incarnation !== member.incarnation)
          this.violations.push(`generation ${table.generation} names ${member.id}, which is not itself`)
      }
  }

  #checkEnd(name: string): void {
    if (!this.alive) return
    const named = this.clusters.table().clusters.some(({ members }) => members.some(({ id }) => id === name))
    if (named)
      this.violations.push(`${name} was ended while generation ${this.clusters.generation()} names it`)
  }
}

/** A new process finds nothing on it. */
function empty(board: Board): void {
  new Int32Array(board.buffer.sab).fill(0)
  board.widen(1)
}
