/** Nodes as people see them: what they hold, asked of their hypervisors now, and what scaling makes of it; and emptying them. */
import type { Clock } from '../clock.ts'
import type { Actor, Command } from '../command.ts'
import type { NodeConfig, Resources } from '../config/config.ts'
import { TidegateError, toTidegateError } from '../errors.ts'
import type { Driver, Held } from '../hypervisor/driver.ts'
import type { Scaling } from '../scaling/scaling.ts'
import type { NodeView, ResourcesView } from '../views.ts'

export interface NodesDeps {
  /** Those of now: a reload may add some. */
  readonly nodes: () => readonly { readonly config: NodeConfig; readonly driver: Driver }[]
  readonly scaling: Scaling
  readonly clock: Clock
}

const pollMs = 250

export class Nodes {
  readonly #deps: NodesDeps

  constructor(deps: NodesDeps) {
    this.#deps = deps
  }

  all(): Promise<readonly NodeView[]> {
    return Promise.all(this.#deps.nodes().map(({ config, driver }) => this.#view(config, driver)))
  }

  /** Throws `unknown_node`. */
  one(id: string): Promise<NodeView> {
    const found = this.#deps.nodes().find(({ config }) => config.id === id)
    if (found) return this.#view(found.config, found.driver)
    throw new TidegateError('unknown_node', `There is no node \`${id}\`.`, { details: { node: id } })
  }

  async execute(
    { kind, node }: Extract<Command, { node: string }>,
    actor: Actor,
  ): Promise<{ readonly result: 'node'; readonly node: NodeView }> {
    const { scaling } = this.#deps
    await (kind === 'drain_node' ? scaling.drainNode(node, actor) : scaling.readyNode(node, actor))
    return { result: 'node', node: await this.one(node) }
  }

  /** The node as soon as it is no longer being drained, at the latest after `timeoutMs`. */
  async waitDrained(id: string, timeoutMs: number): Promise<NodeView> {
    const { clock } = this.#deps
    const deadline = clock.monotonic() + timeoutMs
    for (;;) {
      const node = await this.one(id)
      if (node.drain === null || node.state === 'drained' || clock.monotonic() >= deadline) return node
      await clock.sleep(Math.min(pollMs, Math.max(1, deadline - clock.monotonic())))
    }
  }

  async #view(config: NodeConfig, driver: Driver): Promise<NodeView> {
    let held: Held | null = null
    let reason: string | null = null
    try {
      held = await driver.inspect()
    } catch (error) {
      reason = toTidegateError(error, 'hypervisor_unreachable').message
    }
    const facts = this.#deps.scaling.report.nodeFacts(config, held)
    const { instances = [], snapshots = [] } = held ?? {}
    return {
      node_id: config.id,
      driver: config.driver,
      zone: config.zone,
      state: facts.state,
      reachable: held !== null,
      reason,
      capacity: resourcesView(config.capacity),
      free: facts.free && resourcesView(facts.free),
      promised: resourcesView(facts.promised),
      price: config.price ?? null,
      load: facts.load,
      drain: facts.drain,
      unknown_since: facts.unknown_since,
      orphans: facts.orphans,
      instances: instances.map(({ name, owner, state, pid, residentBytes }) => ({
        id: name,
        cluster: owner.cluster,
        state,
        pid,
        resident_bytes: residentBytes,
      })),
      snapshots: snapshots.map(({ name, owner, bytes, complete }) => ({
        id: name,
        cluster: owner.cluster,
        bytes,
        complete,
      })),
    }
  }
}

export const resourcesView = ({ cpus, memoryBytes, diskBytes }: Resources): ResourcesView => ({
  cpus: Math.round(cpus * 1000) / 1000,
  memory_bytes: memoryBytes,
  disk_bytes: diskBytes,
})
