/** What surrounds the driver double when it is held against the drivers' contract: a node in memory, and the demo application's answers. */
import { createHash } from 'node:crypto'
import { type Clock, systemClock } from '../../lib/clock.ts'
import type { Driver } from '../../lib/hypervisor/driver.ts'
import type { Ground } from './driver-bench.ts'
import { type FakeInstance, FakeNode, type Fault } from './fake-driver.ts'
import { until } from './wait.ts'

/** A stage takes long enough that somebody who looks on sees it. */
const slowly: Clock = { ...systemClock, sleep: (ms, signal) => systemClock.sleep(ms * 20, signal) }

export class FakeGrounds {
  readonly #nodes = new Map<string, FakeNode>()
  readonly #full = new Set<string>()
  /** Of each that was made, whether it ran already when its owner was put on record. */
  readonly #ranAtRecord = new Map<string, boolean>()

  driver(directory: string): Driver {
    const fault = (point: string): Fault =>
      point === 'snapshot:tagged' && this.#full.has(directory) ? 'full' : null
    return connect(this.#node(directory), fault)
  }

  ground(directory: string): Ground {
    const node = this.#node(directory)
    const running = () => [...node.instances.values()].filter(({ pid }) => pid !== null)
    return {
      processes: () => running().map(({ pid }) => pid!),
      sockets: () => [],
      files: kind => [...node[kind].keys(), ...node.unreadable[kind]].sort(),
      exposed: () => [],
      ask: async ({ name }, path, body) => {
        await until(`${name} runs`, () => node.instances.get(name)?.state !== 'paused')
        const instance = node.instances.get(name)
        if (instance?.state !== 'running') throw new Error(`connect ECONNREFUSED ${name}`)
        return answer(instance, path, body)
      },
      plant: (kind, name) => void node.unreadable[kind].add(name),
      unreachable: () => connect(node, point => (point === 'inspect:before' ? 'fail' : null)),
      kill: ({ name }) => node.kill(name),
      full: async (_, test) => {
        this.#full.add(directory)
        await test()
        this.#full.delete(directory)
      },
      recordedFirst: ({ name }) => this.#ranAtRecord.get(name) === false,
    }
  }

  #node(directory: string): FakeNode {
    const known = this.#nodes.get(directory)
    if (known) return known
    const node = new FakeNode(directory)
    node.onMade = name => this.#ranAtRecord.set(name, node.instances.get(name)?.state === 'running')
    this.#nodes.set(directory, node)
    return node
  }
}

function connect(node: FakeNode, fault: (point: string) => Fault): Driver {
  return node.connect({ clock: slowly, alive: () => true, fault, crash: () => {} })
}

/** As `examples/app` answers, with all its state in the instance's memory. */
function answer(instance: FakeInstance, path: string, body?: string) {
  const { memory, identity } = instance
  const json = (status: number, value: object) => ({ status, body: JSON.stringify(value) })
  const session = /^\/sessions\/(\w+)$/.exec(path)?.[1]
  const mark = `session ${session}=`
  if (session !== undefined && body !== undefined) {
    memory.splice(0, memory.length, ...memory.filter(line => !line.startsWith(mark)), mark + body)
    return json(200, {})
  }
  const kept = memory.findLast(line => line.startsWith(mark))
  if (session !== undefined)
    return kept === undefined ? json(404, {}) : json(200, { value: kept.slice(mark.length) })
  if (path === '/count')
    return json(200, { count: memory.filter(line => line.startsWith('session ')).length })
  if (path === '/whoami')
    return json(200, {
      instance_id: identity?.instanceId,
      incarnation: identity?.incarnation,
      ...copyOf(identity),
    })
  if (path === '/random') return json(200, draw(instance))
  return json(path === '/healthz' ? 200 : 404, {})
}

function copyOf(identity: FakeInstance['identity']) {
  const { clonedFrom } = identity ?? {}
  if (!clonedFrom) return { cloned_from: null }
  return { cloned_from: { instance_id: clonedFrom.instanceId, at: new Date(clonedFrom.atMs).toISOString() } }
}

/** Two that have the same memory and were given the same entropy draw the same. */
function draw({ memory, identity }: FakeInstance) {
  memory.push('drawn')
  const count = memory.filter(line => line === 'drawn').length
  const bytes = createHash('sha256').update(`${identity?.entropy} ${count}`).digest('hex')
  return { bytes, uuid: bytes.slice(0, 32), int: Number.parseInt(bytes.slice(0, 12), 16) }
}
