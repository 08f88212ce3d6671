/**
 * Emptying nodes. Each instance on a node that is being drained is replaced by one elsewhere, by ordinary operations, at most the
 * cluster's disruption budget at once; the node takes no new instances meanwhile.
 *
 *            drain: is there room elsewhere?          no member left on it
 *   ready ─────────────────────────────────► draining ─────────────────────► drained
 *     ▲                                        │  ▲ │                            │
 *     │                                        │  └─┘ a replace failed: again, after a pause that grows
 *     └──────────────────── ready ─────────────┴────────────────────────────────┘
 *
 * The mark is in the store, so it goes on after a restart. How far it has come is not stored: it is who is still there.
 */
import { TidegateError, toTidegateError } from '../../errors.ts'
import type { HistoryRecord, InstanceRecord, Write } from '../../store/store.ts'
import type { OperationRequest } from '../operation.ts'
import { repairBackoffMs } from '../recovery/repairs.ts'
import { commit, type World } from '../world.ts'
import { mustHaveRoomElsewhere } from './evacuation-room.ts'

export interface NodeDrainView {
  readonly requested_by: string
  /** ISO 8601. */
  readonly requested_at: string
  readonly drained_at: string | null
  /** On it when it was asked, and still on it. */
  readonly instances: number
  readonly left: number
  /** Operations under way that empty it. */
  readonly operations: readonly string[]
  /** Why the last attempt failed, by cluster; empty where all is well. */
  readonly blocked: readonly {
    readonly cluster_id: string
    readonly code: string
    readonly message: string
  }[]
}

/** What it needs of operations. */
export interface Evacuating {
  readonly busy: (cluster: string) => boolean
  /** Resolves when it has begun; `ended` to null when it went well, else to why not. */
  readonly begin: (
    cluster: string,
    request: OperationRequest,
    actor: string,
  ) => Promise<{ readonly id: string; readonly ended: Promise<Fault | null> }>
  readonly cancel: (operation: string) => Promise<unknown>
}

interface Fault {
  readonly code: string
  readonly message: string
}

interface Blocked extends Fault {
  readonly failures: number
  readonly notBeforeMs: number
}

export class NodeDrains {
  readonly #world: World
  readonly #operations: Evacuating
  /** By cluster: the operation that empties a node there. */
  readonly #running = new Map<string, { readonly node: string; readonly id: string }>()
  /** By node and cluster. */
  readonly #blocked = new Map<string, Blocked>()
  #turn: Promise<void> = Promise.resolve()

  constructor(world: World, operations: Evacuating) {
    this.#world = world
    this.#operations = operations
  }

  /** Throws `unknown_node`, `hypervisor_unreachable`, or `no_capacity` with the numbers; nothing is changed then. */
  async drain(node: string, actor: string): Promise<void> {
    this.#known(node)
    if (this.#world.nodeMarks.get(node)) return
    const members = this.#on(node)
    await mustHaveRoomElsewhere(this.#world, node, members)
    const { nodeMarks, clock } = this.#world
    const requested_at = new Date(clock.now()).toISOString()
    const mark = { actor, requested_at, drained_at: null, instances: members.length }
    const reason = `Draining node ${node}: ${members.length} instances to move`
    const { write, stored } = nodeMarks.change(node, mark)
    await commit(this.#world, [write, this.#line(node, actor, 'drain_node', 'ready', 'draining', reason)])
    stored()
    this.#tell(node, 'ready', 'draining', reason)
    void this.advance()
  }

  /** Takes new instances again; a replace that empties it is cancelled where that is still possible. Throws `unknown_node`. */
  async ready(node: string, actor: string): Promise<void> {
    this.#known(node)
    const mark = this.#world.nodeMarks.get(node)
    if (!mark) return
    const from = mark.drained_at === null ? 'draining' : 'drained'
    const reason = `Made node ${node} ready: ${this.#on(node).length} of ${mark.instances} instances are still on it`
    const { write, stored } = this.#world.nodeMarks.change(node, null)
    await commit(this.#world, [write, this.#line(node, actor, 'ready_node', from, 'ready', reason)])
    stored()
    this.#tell(node, from, 'ready', reason)
    for (const key of [...this.#blocked.keys()]) if (key.startsWith(`${node}/`)) this.#blocked.delete(key)
    const mine = [...this.#running.values()].filter(running => running.node === node)
    // One that is past its pivot ends as it would have.
    await Promise.all(mine.map(({ id }) => this.#operations.cancel(id).catch(() => {})))
  }

  /** Null: it is not being drained. */
  view(node: string): NodeDrainView | null {
    const mark = this.#world.nodeMarks.get(node)
    if (!mark) return null
    const blocked = [...this.#blocked].filter(([key]) => key.startsWith(`${node}/`))
    return {
      requested_by: mark.actor,
      requested_at: mark.requested_at,
      drained_at: mark.drained_at,
      instances: mark.instances,
      left: this.#on(node).length,
      operations: [...this.#running.values()].filter(one => one.node === node).map(({ id }) => id),
      blocked: blocked.map(([key, { code, message }]) => ({
        cluster_id: key.slice(node.length + 1),
        code,
        message,
      })),
    }
  }

  /** Begins what can be begun; returns when it has. One call after another; never rejects. */
  advance(): Promise<void> {
    this.#turn = this.#turn.then(async () => {
      for (const node of this.#world.nodeMarks.ids()) {
        try {
          await this.#advanceNode(node)
        } catch (error) {
          this.#world.log.error({ err: error, node }, 'a node drain stands still')
        }
      }
    })
    return this.#turn
  }

  async #advanceNode(node: string): Promise<void> {
    const { members: _, promises, nodeMarks, clock } = this.#world
    const mark = nodeMarks.get(node)
    if (!mark) return
    const left = this.#on(node)
    if (left.length === 0 && promises.on(node).length === 0) {
      if (mark.drained_at !== null) return
      const drained_at = new Date(clock.now()).toISOString()
      const { write, stored } = nodeMarks.change(node, { ...mark, drained_at })
      const reason = `Drained node ${node}: ${mark.instances} instances moved`
      await commit(this.#world, [
        write,
        this.#line(node, mark.actor, 'drain_node', 'draining', 'drained', reason),
      ])
      stored()
      this.#tell(node, 'draining', 'drained', reason)
      return
    }
    for (const cluster of new Set(left.map(record => record.cluster))) await this.#evacuate(node, cluster)
  }

  async #evacuate(node: string, cluster: string): Promise<void> {
    const { clusters, clock } = this.#world
    if (!clusters.has(cluster) || this.#running.has(cluster) || this.#operations.busy(cluster)) return
    const key = `${node}/${cluster}`
    const blocked = this.#blocked.get(key)
    if (blocked && clock.monotonic() < blocked.notBeforeMs) return
    const budget = clusters.config(cluster).scaling.disruptionBudget ?? 1
    const ids = this.#on(node)
      .filter(record => record.cluster === cluster)
      .slice(0, budget)
      .map(({ id }) => id)
    const request: OperationRequest = { type: 'replace', instance_id: ids[0]!, instance_ids: ids }
    try {
      const { id, ended } = await this.#operations.begin(cluster, request, `drain-node ${node}`)
      this.#running.set(cluster, { node, id })
      void ended.then(fault => {
        this.#running.delete(cluster)
        // Taken back meanwhile: nobody waits for it any more.
        if (fault && this.#world.nodeMarks.get(node)) this.#failed(key, fault)
        else this.#blocked.delete(key)
        return this.advance()
      })
    } catch (error) {
      const fault = toTidegateError(error)
      if (fault.code !== 'operation_running') this.#failed(key, fault)
    }
  }

  #failed(key: string, { code, message }: Fault): void {
    const failures = (this.#blocked.get(key)?.failures ?? 0) + 1
    const notBeforeMs = this.#world.clock.monotonic() + repairBackoffMs(failures)
    this.#blocked.set(key, { code, message, failures, notBeforeMs })
    this.#world.log.warn({ drain: key, code, failures }, `a node drain could not go on: ${message}`)
  }

  #on(node: string): readonly InstanceRecord[] {
    return this.#world.members.all().filter(record => record.node === node)
  }

  #known(node: string): void {
    const nodes = this.#world.reality.nodes().map(({ id }) => id)
    if (nodes.includes(node)) return
    const message = `there is no node \`${node}\`; the configuration names ${nodes.join(', ') || 'none'}`
    throw new TidegateError('unknown_node', message, { details: { node } })
  }

  #line(node: string, actor: string, action: string, from: string, to: string, reason: string): Write {
    const outcome: HistoryRecord['outcome'] = 'done'
    const atMs = this.#world.clock.now()
    return { put: 'history', record: { cluster: null, node, atMs, actor, action, from, to, reason, outcome } }
  }

  #tell(node: string, from: string, to: string, reason: string): void {
    this.#world.events.publish({ type: 'node_state', node, from, to, reason })
  }
}
