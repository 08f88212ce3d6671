/** Carries the actions out through the façade, waits for each to end, and keeps what should not have come of it. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Command } from '../../../lib/command.ts'
import { TidegateError } from '../../../lib/errors.ts'
import type { OperationView } from '../../../lib/scaling/operation.ts'
import type { Server } from '../../../lib/server.ts'
import { get } from '../../support/load.ts'
import { until } from '../../support/wait.ts'
import type { Action } from './actions.ts'
import type { ChurnDriver } from './installation.ts'
import type { Killing } from './judge.ts'
import type { Standstills } from './standstills.ts'

const lateCodes = ['step_timeout', 'instance_unhealthy', 'guest_unreachable']
/** What a kernel keeps of a machine's memory for itself is less. */
const kernelBytesMax = 120 * 2 ** 20
/** Known to the first instance, and from then on to whoever was cloned of one that knows it. */
const heirloom = { path: '/sessions/heirloom', value: 'treasure' }

export interface OperatorOptions {
  readonly cluster: string
  readonly driver: ChurnDriver
  readonly standstills: Standstills
  readonly say: (line: string) => void
}

export class Operator {
  readonly killings: Killing[] = []
  readonly faults: string[] = []
  readonly #server: Server
  readonly #cluster: string
  readonly #waitMs: number
  readonly #standstills: Standstills
  readonly #say: (line: string) => void
  /** Instances that were seen to know the heirloom. */
  readonly #heirs = new Set<string>()

  constructor(server: Server, { cluster, driver, standstills, say }: OperatorOptions) {
    this.#server = server
    this.#cluster = cluster
    this.#standstills = standstills
    this.#waitMs = driver === 'qemu' ? 900_000 : 180_000
    this.#say = say
  }

  /** In the order of their names, so that a draw means the same in each run as long as the names do. */
  serving(): readonly string[] {
    return this.#backends()
      .filter(({ state }) => state === 'ready')
      .map(({ id }) => id)
      .sort()
  }

  async serves(count: number): Promise<void> {
    await until(`${count} serve`, () => this.serving().length === count, this.#waitMs)
    await this.#inherited(new Set())
  }

  async operations(): Promise<Record<string, number>> {
    const counts: Record<string, number> = {}
    const cluster = this.#cluster
    for (const { type, status } of await this.#server.control.operations({ cluster, limit: 1_000 })) {
      const key = `${type} ${status}`
      counts[key] = (counts[key] ?? 0) + 1
    }
    return counts
  }

  async carryOut(action: Action): Promise<void> {
    await this.#idle()
    switch (action.kind) {
      case 'scale':
        return this.#scale(action.to)
      case 'replace':
        return this.#well(
          await this.#operate({
            ...{ kind: 'replace', cluster: this.#cluster, instanceId: this.#pick(action.whom) },
          }),
        )
      case 'resize':
        return this.#resize(action)
      case 'drain_node':
        return this.#drainNode(action.whom)
      case 'kill':
        return this.#kill(action.whom, action.growingTo)
    }
  }

  async #scale(to: number): Promise<void> {
    if (this.#backends().length === to) return
    const ended = await this.#operate(this.#growth(to))
    this.#well(ended)
    if (ended.status === 'completed' && this.serving().length !== to)
      this.#fault(`${this.serving().length} serve, not ${to}`)
  }

  /** The machine itself has what was asked for afterwards, as its application sees it. */
  async #resize({ whom, cpus, memoryMiB }: Action & { readonly kind: 'resize' }): Promise<void> {
    const memoryBytes = memoryMiB * 2 ** 20
    const instanceId = this.#pick(whom)
    const resources = { cpus, memoryBytes }
    const ended = await this.#operate({ kind: 'resize', cluster: this.#cluster, instanceId, resources })
    this.#well(ended)
    const backend = this.#backends().find(({ id }) => id === instanceId)
    if (ended.status !== 'completed' || backend === undefined) return
    const { body } = await get(backend.port, '/whoami', { host: backend.host })
    const has = JSON.parse(body) as { readonly cpus: number; readonly memory_bytes: number }
    const over = memoryBytes - has.memory_bytes
    if (has.cpus !== cpus || over < 0 || over > kernelBytesMax)
      this.#fault(
        `${instanceId} has ${has.cpus} CPUs and ${has.memory_bytes} bytes, not ${cpus} and ${memoryBytes}`,
      )
  }

  /** The fuller one is emptied, and taken back. */
  async #drainNode(whom: number): Promise<void> {
    const { control } = this.#server
    const nodes = [...new Set(this.#backends().map(({ instance }) => instance!.node))].sort()
    const node = nodes[Math.floor(whom * nodes.length)]!
    const before = this.#ids()
    await this.#execute({ kind: 'drain_node', node })
    const view = await control.waitNodeDrained(node, this.#waitMs)
    if (view.state !== 'drained') this.#fault(`${node} is ${view.state}: ${JSON.stringify(view.drain)}`)
    await this.#idle()
    await this.#execute({ kind: 'ready_node', node })
    await this.#inherited(before)
  }

  /** It is gone from the table when this resolves; an operation that it fell into may fail. */
  async #kill(whom: number, growingTo: number | null): Promise<void> {
    const { control } = this.#server
    const victim = this.#pick(whom)
    const running = (await control.nodes()).flatMap(({ instances }) => instances)
    const pid = running.find(({ id }) => id === victim)?.pid
    if (!pid) throw new Error(`${victim} has no process`)
    const before = this.#ids()
    let operation: OperationView | null = null
    if (growingTo !== null) {
      const cloning = this.#step('clone')
      operation = await this.#start(this.#growth(growingTo))
      await Promise.race([cloning, control.waitOperation(operation.id, this.#waitMs)])
    }
    this.killings.push({ instance: victim, atMs: Date.now() })
    process.kill(pid, 'SIGKILL')
    if (operation !== null) {
      const ended = await control.waitOperation(operation.id, this.#waitMs)
      this.#say(`  ${ended.type} ${ended.status} ${ended.error?.code ?? ''}`)
    }
    await this.#until(`${victim} leaves`, () => !this.#ids().has(victim)).catch(async error => {
      const nodes = (await control.nodes()).flatMap(node => [node.reason, ...node.instances])
      this.#fault(`${error.message} ${JSON.stringify([control.backends(this.#cluster), nodes])}`)
    })
    await this.#until('as many as are wanted serve', async () => {
      const { wanted } = await control.status(this.#cluster)
      return this.serving().length === wanted
    })
    await this.#idle()
    await this.#inherited(before)
  }

  /** Time in which nothing of this process ran is no time that anything could have happened in. */
  async #until(what: string, probe: () => boolean | Promise<boolean>): Promise<void> {
    for (;;) {
      const fromMs = Date.now()
      try {
        await until(what, probe, this.#waitMs)
        return
      } catch (error) {
        if (!this.#standstills.within(fromMs, Date.now())) throw error
        this.#say(`  late: ${(error as Error).message}`)
      }
    }
  }

  /** Resolves when a step of that name begins. */
  #step(name: string): Promise<void> {
    return new Promise(resolve => {
      const stop = this.#server.control.subscribe(({ event }) => {
        if (event.type !== 'operation_step' || event.cluster !== this.#cluster) return
        if (event.step !== name || event.status !== 'started') return
        stop()
        resolve()
      })
    })
  }

  async #operate(command: Command): Promise<OperationView> {
    const before = this.#ids()
    const { id } = await this.#start(command)
    const ended = await this.#server.control.waitOperation(id, this.#waitMs)
    await this.#inherited(before)
    return ended
  }

  /** A step that stood still with everything else may be late. */
  #well({ id, type, status, error, created_at: from, completed_at: to }: OperationView): void {
    if (status === 'completed') return
    const what = `${type} ${id} ${status}: ${error?.code} ${error?.message}`
    const late = this.#standstills.within(Date.parse(from), to === null ? Date.now() : Date.parse(to))
    if (late && lateCodes.includes(error?.code ?? '')) this.#say(`  late: ${what}`)
    else this.#fault(what)
  }

  async #start(command: Command): Promise<OperationView> {
    const result = await this.#execute(command)
    if (result.result !== 'operation') throw new Error(`no operation: ${JSON.stringify(result)}`)
    return result.operation
  }

  /** What reconcile began in this very moment is waited for. */
  async #execute(command: Command) {
    for (;;) {
      try {
        return await this.#server.control.execute(command, 'churn')
      } catch (error) {
        if (!(error instanceof TidegateError) || error.code !== 'operation_running') throw error
        await this.#idle()
      }
    }
  }

  async #idle(): Promise<void> {
    const { control } = this.#server
    for (;;) {
      const [last] = await control.operations({ cluster: this.#cluster, limit: 1 })
      if (last?.status !== 'running') return
      await control.waitOperation(last.id, this.#waitMs)
      await delay(10)
    }
  }

  /** Whoever is new was cloned of an heir and is one too, or was booted from nothing and is told now. Asked past the front door. */
  async #inherited(before: ReadonlySet<string>): Promise<void> {
    const [last] = await this.#server.control.operations({ cluster: this.#cluster, limit: 1 })
    for (const { id, host, port, state } of this.#backends()) {
      if (before.has(id) && this.#heirs.has(id)) continue
      if (state !== 'ready') continue
      const answer = await get(port, heirloom.path, { host }).catch(error => ({
        status: 0,
        body: String(error),
      }))
      if (answer.status === 200 && answer.body.includes(heirloom.value)) this.#heirs.add(id)
      else if (answer.status === 404 && (await this.#booted(id))) {
        await get(port, heirloom.path, { host, method: 'POST', body: heirloom.value })
        this.#heirs.add(id)
      } else if (!this.killings.some(({ instance }) => instance === id))
        this.#fault(`${id} has not inherited (${last?.type} ${last?.id}): ${answer.status} ${answer.body}`)
    }
  }

  /** The operation that made it has booted it from nothing. */
  async #booted(id: string): Promise<boolean> {
    const operations = await this.#server.control.operations({ cluster: this.#cluster, limit: 20 })
    const maker = operations.find(({ instances, type }) => instances.includes(id) && type !== 'scale_in')
    const allocated = maker?.steps.find(({ step }) => step === 'allocate')?.data as
      | { readonly items?: readonly { readonly name: string; readonly snapshot: string | null }[] }
      | undefined
    return allocated?.items?.find(({ name }) => name === id)?.snapshot === null
  }

  #growth(to: number): Command {
    return {
      ...{ kind: 'scale', cluster: this.#cluster, direction: null },
      ...{ targetCount: to, immediate: false, drainConnections: true },
    }
  }

  #pick(whom: number): string {
    const serving = this.serving()
    return serving[Math.floor(whom * serving.length)]!
  }

  #fault(what: string): void {
    this.faults.push(`${new Date().toISOString().slice(11, 23)} ${what}`)
    this.#say(`  FAULT ${what}`)
  }

  #ids(): Set<string> {
    return new Set(this.#backends().map(({ id }) => id))
  }

  #backends() {
    return this.#server.control.backends(this.#cluster)
  }
}
