/** What is told of recovery: nodes that cannot be asked, orphans, what in the store cannot be believed, and the numbers of all of it. */
import type { NodeConfig } from '../../config/config.ts'
import type { Diagnosis, Held } from '../../hypervisor/driver.ts'
import { limits } from '../limits.ts'
import type { ScalingNumbers } from '../numbers.ts'
import type { NodeDrains } from '../placement/node-drains.ts'
import { type NodeFacts, nodeFacts } from '../placement/node-facts.ts'
import type { World } from '../world.ts'
import type { Orphan } from './orphans.ts'
import type { Quarantine } from './quarantine.ts'
import type { Reconciler } from './reconciler.ts'
import { type Repairs, whyNot } from './repairs.ts'

export interface ReportDeps {
  readonly world: World
  readonly quarantine: Quarantine
  readonly reconciler: Reconciler
  readonly repairs: Repairs
  readonly drains: NodeDrains
  readonly running: (cluster: string) => boolean
  readonly stuck: (cluster: string) => readonly string[]
}

export class RecoveryReport {
  readonly #deps: ReportDeps

  constructor(deps: ReportDeps) {
    this.#deps = deps
  }

  /** `held` null: the node could not be asked. */
  nodeFacts(node: NodeConfig, held: Held | null): NodeFacts {
    const { world, drains, reconciler } = this.#deps
    return nodeFacts(world, drains, node, held, reconciler.orphans)
  }

  /** What `/metrics` tells. */
  numbers(): ScalingNumbers {
    const { reconciler, running, stuck } = this.#deps
    return reconciler.numbers(running, cluster => stuck(cluster).length)
  }

  /** What `doctor` tells. */
  async diagnoses(): Promise<readonly Diagnosis[]> {
    const { world, quarantine, reconciler } = this.#deps
    const unknown = world.reality.nodes().flatMap(({ id }): Diagnosis[] => {
      const since = world.reality.silentSince(id)
      if (since === null) return []
      const detail = `it cannot be asked since ${iso(since)}; what it held is taken to be there still`
      const fix =
        'Bring it back, or see its log; until then its instances stay members and nothing of it is replaced.'
      return [{ ...advice, name: `node ${id}`, detail, fix, code: 'hypervisor_unreachable' }]
    })
    return [
      ...unknown,
      ...this.#inVain(),
      ...reconciler.orphans.map(orphanDiagnosis),
      ...(await quarantine.diagnoses()),
    ]
  }

  #inVain(): readonly Diagnosis[] {
    const { world, repairs } = this.#deps
    return world.clusters.ids().flatMap((cluster): Diagnosis[] => {
      const { inARow = 0, fault = null } = repairs.of(cluster) ?? {}
      if (inARow < limits.repairsAlarm) return []
      const count = world.members.of(cluster).length
      const detail = `${count} of ${repairs.wanted(cluster)} instances; ${inARow} repairs in a row did not last: ${whyNot(fault)}`
      const fix = `See why they end; it is tried again for ever, at most every 5 minutes. If ${count} are enough: tidegate scale ${cluster} --to ${count}`
      return [{ ...advice, name: `cluster ${cluster}`, detail, fix }]
    })
  }
}

const advice = { ok: false, advice: true } as const

function orphanDiagnosis({ node, name, kind, createdAtMs, collectAtMs, why }: Orphan): Diagnosis {
  return {
    ...{ ...advice, name: `orphan ${name}` },
    detail: `${kind} on node ${node}, made ${iso(createdAtMs)}, claimed by nobody: ${why ?? 'it is being destroyed'}`,
    fix:
      collectAtMs === null
        ? 'Nothing destroys it as long as that holds. Look at what it is worth, and mend what is named.'
        : 'Nothing: the next round of reconcile destroys it.',
  }
}

const iso = (ms: number) => new Date(ms).toISOString()
