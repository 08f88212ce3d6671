/**
 * Reality: what the nodes hold, asked with a deadline. A node that cannot be asked is `null` in the answer, never empty:
 * nothing that may be there is taken for gone.
 */
import type { Clock } from '../../clock.ts'
import type { DriverKind, NodeConfig } from '../../config/config.ts'
import { TidegateError } from '../../errors.ts'
import type { Driver, Held, HeldInstance } from '../../hypervisor/driver.ts'
import { within } from '../deadline.ts'
import { limits } from '../limits.ts'

export interface ScalingNode {
  readonly config: NodeConfig
  readonly driver: Driver
}

export class Reality {
  #nodes: ReadonlyMap<string, ScalingNode>
  readonly #clock: Clock
  /** Since when each node has not answered. */
  readonly #silent = new Map<string, number>()

  constructor(nodes: readonly ScalingNode[], clock: Clock) {
    this.#nodes = new Map(nodes.map(node => [node.config.id, node]))
    this.#clock = clock
  }

  /** From now on; none that was there before may be left out. */
  hold(nodes: readonly ScalingNode[]): void {
    this.#nodes = new Map(nodes.map(node => [node.config.id, node]))
  }

  /** Null for a node that is not configured. */
  zoneOf(node: string): string | null {
    return this.#nodes.get(node)?.config.zone ?? null
  }

  /** What an hour of the node costs; 0 where nobody said. */
  hourlyOf(node: string): number {
    return this.#nodes.get(node)?.config.price?.hourly ?? 0
  }

  nodes(): readonly NodeConfig[] {
    return [...this.#nodes.values()].map(node => node.config)
  }

  /** Null for a node that is not configured. */
  configOf(node: string): NodeConfig | null {
    return this.#nodes.get(node)?.config ?? null
  }

  /** The nodes that run instances of this kind. */
  nodesOf(kind: DriverKind): readonly NodeConfig[] {
    return [...this.#nodes.values()].filter(node => node.driver.kind === kind).map(node => node.config)
  }

  /** Throws `hypervisor_unreachable` for a node that the configuration does not name. */
  driver(node: string): Driver {
    const found = this.#nodes.get(node)
    if (found) return found.driver
    throw new TidegateError(
      'hypervisor_unreachable',
      `node \`${node}\` is not in the configuration; add it to \`nodes\` so that what it holds can be reached`,
      { details: { node } },
    )
  }

  /** Throws `hypervisor_unreachable`. */
  async inspect(node: string): Promise<Held> {
    const driver = this.driver(node)
    try {
      const ask = () => driver.inspect()
      const held = await within(this.#clock, limits.inspectMs, `asking node ${node}`, [], ask)
      this.#silent.delete(node)
      return held
    } catch (error) {
      if (!this.#silent.has(node)) this.#silent.set(node, this.#clock.now())
      const reason = error instanceof Error ? error.message : String(error)
      throw new TidegateError('hypervisor_unreachable', `node \`${node}\` cannot be asked: ${reason}`, {
        details: { node },
        cause: error,
      })
    }
  }

  /** Since when the node has not answered; null: it did when it was last asked, or was not asked yet. */
  silentSince(node: string): number | null {
    return this.#silent.get(node) ?? null
  }

  async inspectAll(): Promise<ReadonlyMap<string, Held | null>> {
    const ask = async (id: string) => [id, await this.inspect(id).catch(() => null)] as const
    return new Map(await Promise.all([...this.#nodes.keys()].map(ask)))
  }

  /** The instance as held on its node; null when the node answers that it has none of that name. */
  async find(node: string, name: string): Promise<HeldInstance | null> {
    const held = await this.inspect(node)
    return held.instances.find(instance => instance.name === name) ?? null
  }
}

/** What the answer of `inspectAll` says of one instance: its state, `gone`, or `unknown` where nobody could be asked. */
export function realityOf(
  held: ReadonlyMap<string, Held | null>,
  node: string,
  name: string,
): HeldInstance | 'gone' | 'unknown' {
  const answer = held.get(node)
  if (!answer) return 'unknown'
  return byName(answer).get(name) ?? 'gone'
}

/** Of answers that somebody holds: of a thousand instances each is asked for. */
const named = new WeakMap<Held, ReadonlyMap<string, HeldInstance>>()

function byName(answer: Held): ReadonlyMap<string, HeldInstance> {
  const known = named.get(answer) ?? new Map(answer.instances.map(instance => [instance.name, instance]))
  named.set(answer, known)
  return known
}
