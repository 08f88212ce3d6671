/** Nodes of the simulator with ports on which somebody answers, kept over the lives of the process in a file. */
import { readFileSync, writeFileSync } from 'node:fs'
import { systemClock } from '../../lib/clock.ts'
import type { Driver } from '../../lib/hypervisor/driver.ts'
import { FakeNode, type Fault } from '../../test/support/fake-driver.ts'

type FaultAt = (point: string, name: string) => Fault

/** Takes its ports from those of the doors. */
class AnsweringNode extends FakeNode {
  readonly #ports: number[]

  constructor(id: string, ports: number[]) {
    super(id)
    this.#ports = ports
  }

  override nextPort(): number {
    const port = this.#ports.pop()
    if (port === undefined) throw new Error(`node ${this.id} has no port left`)
    return port
  }
}

/** `ports` is shared: a port is taken once. */
export function makeNodes(ids: readonly string[], ports: number[]): readonly FakeNode[] {
  return ids.map(id => new AnsweringNode(id, ports))
}

export function driversOf(
  nodes: readonly FakeNode[],
  fault: FaultAt = () => null,
): Readonly<Record<string, Driver>> {
  const process = { clock: systemClock, alive: () => true, fault, crash: () => {} }
  return Object.fromEntries(nodes.map(node => [node.id, node.connect(process)]))
}

export function keepNodes(path: string, nodes: readonly FakeNode[]): void {
  const kept = nodes.map(({ id, instances, snapshots }) => ({
    ...{ id, instances: [...instances.values()], snapshots: [...snapshots.values()] },
  }))
  writeFileSync(path, JSON.stringify(kept))
}

export function readNodes(path: string, ports: number[]): readonly FakeNode[] {
  const kept = JSON.parse(readFileSync(path, 'utf8')) as readonly {
    readonly id: string
    readonly instances: never[]
    readonly snapshots: never[]
  }[]
  return kept.map(({ id, instances, snapshots }) => {
    const node = new AnsweringNode(id, ports)
    for (const instance of instances as { name: string }[])
      node.instances.set(instance.name, instance as never)
    for (const snapshot of snapshots as { name: string }[])
      node.snapshots.set(snapshot.name, snapshot as never)
    return node
  })
}
