/**
 * The same faults at every step of `scale_out`, `scale_in`, `replace` and `resize`, done to a whole Tidegate on a real driver under a little load: as a
 * step begins, the machine is killed, the application in it is, the machine is stopped for a while, or the disk of the nodes is full. Whatever becomes of
 * the operation, it ends, what is served, stored and held agrees afterwards, and nothing is left over. Where no machine was touched no request fails;
 * where one was, requests are not judged, for nobody can tell which were on it: the churn can, and does. The other recipes meet
 * the same on nodes in memory (`test/unit/scaling/step-faults.test.ts`), the controller's own death is in `test/integration/crash`.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { systemClock } from '../../../lib/clock.ts'
import type { Command } from '../../../lib/command.ts'
import type { Config } from '../../../lib/config/config.ts'
import type { Driver } from '../../../lib/hypervisor/driver.ts'
import { createDriver } from '../../../lib/hypervisor/registry.ts'
import { silentLog } from '../../../lib/log.ts'
import { recipes } from '../../../lib/scaling/recipes.ts'
import { type Server, startServer } from '../../../lib/server.ts'
import { endInstances } from '../../support/demo-cluster.ts'
import { get } from '../../support/load.ts'
import { until } from '../../support/wait.ts'
import { type ChurnDriver, install } from '../churn/installation.ts'
import { leftovers } from '../churn/leftovers.ts'
import { SmallDisk } from './small-disk.ts'

export interface MatrixOptions {
  readonly driver: ChurnDriver
  /** Left out: all. */
  readonly recipe?: string
  readonly fault?: string
  /** How many serve at the least: with more than one, who is left can be cloned where otherwise all begins with a boot. */
  readonly least: number
  readonly say: (line: string) => void
  /** Ends it before the next, in good order. */
  readonly signal?: AbortSignal
}

const scale = (targetCount: number): Command => ({
  ...{ kind: 'scale' as const, cluster: 'web', direction: null },
  ...{ targetCount, immediate: false, drainConnections: true },
})

interface Recipe {
  readonly type: keyof typeof recipes
  readonly cloneFrom: 'live' | 'golden'
  /** How many serve before it, beyond the least. */
  readonly more?: number
  readonly command: (id: string, serving: number) => Command
}

const made: Readonly<Record<string, Recipe>> = {
  'scale_out, clones': { type: 'scale_out', cloneFrom: 'live', command: (_id, count) => scale(count + 1) },
  scale_in: { type: 'scale_in', cloneFrom: 'live', more: 1, command: (_id, count) => scale(count - 1) },
  replace: {
    ...{ type: 'replace', cloneFrom: 'live' },
    command: instanceId => ({ kind: 'replace', cluster: 'web', instanceId }),
  },
  // Of a cluster that clones what lives these are cold boots.
  'replace --all': {
    ...{ type: 'replace', cloneFrom: 'live' },
    command: () => ({ kind: 'replace_all', cluster: 'web' }),
  },
  resize: {
    ...{ type: 'resize', cloneFrom: 'live' },
    command: instanceId => ({ kind: 'resize', cluster: 'web', instanceId, resources: { cpus: 2 } }),
  },
  'scale_out, golden': { type: 'scale_out', cloneFrom: 'golden', command: (_id, count) => scale(count + 1) },
}

const faults = ['killed', 'application killed', 'stopped', 'disk full'] as const
type Fault = (typeof faults)[number]

/** With a way to be killed. */
const main = 'test/support/mortal-app.ts'
/** A VM's memory is a file with holes: it ends when it touches another page of it on a disk that is quite full. */
const spareBytes: Readonly<Record<ChurnDriver, number>> = { process: 0, qemu: 24 * 2 ** 20 }
const stoppedMs = 8_000
const waitMs = 900_000

/** What went wrong, in words. */
export async function matrix(options: MatrixOptions): Promise<readonly string[]> {
  const wrong: string[] = []
  for (const cloneFrom of ['live', 'golden'] as const) {
    const chosen = Object.entries(made).filter(
      ([name, recipe]) =>
        recipe.cloneFrom === cloneFrom &&
        (options.recipe ?? name) === name &&
        (recipe.type !== 'resize' || options.driver === 'qemu'),
    )
    if (chosen.length > 0) wrong.push(...(await onOneInstallation(options, cloneFrom, chosen)))
  }
  return wrong
}

async function onOneInstallation(
  options: MatrixOptions,
  cloneFrom: 'live' | 'golden',
  chosen: readonly (readonly [string, Recipe])[],
): Promise<readonly string[]> {
  const shape = { maxInstances: options.least + 2, ttlSeconds: 1, graceSeconds: 1, cloneFrom, main }
  const installation = await install({ driver: options.driver, ...shape })
  const disks =
    (options.fault ?? 'disk full') === 'disk full'
      ? installation.config.nodes.map(({ directory }) => new SmallDisk(directory, spareBytes[options.driver]))
      : []
  let scene: Scene | null = null
  try {
    scene = await Scene.open(installation.config, disks, options.say)
    for (const [name, recipe] of chosen)
      for (const { name: step } of recipes[recipe.type].steps)
        for (const fault of faults)
          if ((options.fault ?? fault) === fault && !options.signal?.aborted)
            await scene.one(name, { ...recipe, from: options.least + (recipe.more ?? 0) }, step, fault)
    return scene.wrong
  } finally {
    await scene?.close()
    // What runs is known by what is on the disk.
    if (disks.length > 0) await endInstances(installation.config)
    for (const disk of disks) disk.remove()
    await installation.remove()
  }
}

class Scene {
  readonly wrong: string[] = []
  readonly #server: Server
  readonly #config: Config
  readonly #disks: readonly SmallDisk[]
  readonly #nodes: readonly Driver[]
  readonly #say: (line: string) => void
  /** Killed or stopped by us: requests on it may fail. */
  #touched: { readonly id: string; readonly atMs: number } | null = null
  #failed: string[] = []
  #asking = true
  /** Nobody asks while it is looked at what is left. */
  #resting = false
  readonly #asked: Promise<void>

  private constructor(
    server: Server,
    config: Config,
    disks: readonly SmallDisk[],
    say: (line: string) => void,
  ) {
    this.#server = server
    this.#config = config
    this.#disks = disks
    const deps = { clock: systemClock, log: silentLog }
    this.#nodes = config.nodes.map(node => createDriver(node, deps))
    this.#say = say
    this.#asked = this.#ask()
  }

  static async open(
    config: Config,
    disks: readonly SmallDisk[],
    say: (line: string) => void,
  ): Promise<Scene> {
    const server = await startServer(config, { log: silentLog })
    const serves = () => server.control.backends('web').some(({ state }) => state === 'ready')
    await until('the first instance serves', serves, waitMs)
    return new Scene(server, config, disks, say)
  }

  async close(): Promise<void> {
    this.#asking = false
    await this.#asked
    await this.#server.close({ graceMs: 0 })
  }

  async one(
    name: string,
    recipe: Recipe & { readonly from: number },
    step: string,
    fault: Fault,
  ): Promise<void> {
    const { control } = this.#server
    const where = `${name}, ${step}: ${fault}`
    await this.#bringTo(recipe.from)
    const before = this.#ids()
    this.#touched = null
    this.#failed = []
    let mend = async () => {}
    const done = this.#as(step, async () => {
      mend = await this.#strike(fault, before)
    })
    const operation = await this.#operate(recipe.command(before[0]!, recipe.from))
    done.stop()
    await done.struck
    await mend()
    this.#judge(where, operation)
    const left = await this.#settled()
    for (const what of left) this.#fault(`${where}: left: ${what}`)
    const { status = 'refused', error = null } = operation ?? {}
    this.#say(`${where}: ${done.happened() ? '' : 'never begun, '}${status} ${error?.code ?? ''}`)
    if (control.backends('web').length === 0)
      await until('it comes back', () => this.#ids().length > 0, waitMs)
  }

  #judge(where: string, operation: Awaited<ReturnType<Scene['operation']>>): void {
    if (operation !== null && !['completed', 'failed', 'cancelled'].includes(operation.status))
      this.#fault(`${where}: the operation is ${operation.status}`)
    // Whoever was on it, or came to it before anybody noticed: nobody else can tell.
    if (this.#touched === null) for (const what of this.#failed) this.#fault(`${where}: ${what}`)
  }

  /** Acts as the step begins, once. */
  #as(step: string, act: () => Promise<void>) {
    let struck: Promise<void> = Promise.resolve()
    let happened = false
    const stop = this.#server.control.subscribe(({ event }) => {
      if (event.type !== 'operation_step' || event.step !== step || event.status !== 'started' || happened)
        return
      happened = true
      struck = act()
    })
    return {
      stop,
      happened: () => happened,
      get struck() {
        return struck
      },
    }
  }

  /** Of the new machine if there is one, else of the first; resolves to what mends it. */
  async #strike(fault: Fault, before: readonly string[]): Promise<() => Promise<void>> {
    if (fault === 'disk full') return this.#fillDisks()
    const held = (await Promise.all(this.#nodes.map(node => node.inspect()))).flatMap(one => one.instances)
    const whom = held.find(({ name }) => !before.includes(name)) ?? held[0]
    if (!whom?.pid) return async () => {}
    this.#touched = { id: whom.name, atMs: Date.now() }
    const { pid, address } = whom
    if (fault === 'killed') {
      signal(pid, 'SIGKILL')
      return async () => {}
    }
    if (fault === 'application killed') {
      // It says nothing any more: what it is asked with fails. One that is paused right now hears it when it runs again.
      if (address) void get(address.port, '/killed', { ...address, method: 'POST' }).catch(() => {})
      return async () => {}
    }
    signal(pid, 'SIGSTOP')
    const over = delay(stoppedMs).then(() => signal(pid, 'SIGCONT'))
    return () => over
  }

  /** No more can be written on any node than its machines may need that run already. */
  async #fillDisks(): Promise<() => Promise<void>> {
    for (const disk of this.#disks) disk.fill()
    return async () => {
      for (const disk of this.#disks) disk.empty()
    }
  }

  async #operate(command: Command) {
    const { control } = this.#server
    await this.#idle()
    try {
      const result = await control.execute(command, 'matrix')
      if (result.result !== 'operation') return null
      return await this.operation(result.operation.id)
    } catch (error) {
      this.#say(`  ${(error as Error).message}`)
      return null
    }
  }

  operation(id: string) {
    return this.#server.control.waitOperation(id, waitMs) as Promise<Awaited<
      ReturnType<Server['control']['waitOperation']>
    > | null>
  }

  async #bringTo(count: number): Promise<void> {
    for (let tries = 0; this.#ids().length !== count || this.#notReady(); tries++) {
      if (tries > 10) throw new Error(`it does not come to ${count} instances`)
      await until('the members are well', () => !this.#notReady(), waitMs)
      if (this.#ids().length !== count) await this.#operate(scale(count))
    }
  }

  #notReady(): boolean {
    const backends = this.#server.control.backends('web')
    return backends.length === 0 || backends.some(({ state }) => state !== 'ready')
  }

  async #idle(): Promise<void> {
    await until(
      'nothing runs',
      async () => (await this.#server.control.operations({ limit: 1 }))[0]?.status !== 'running',
      waitMs,
    )
  }

  async #settled(): Promise<readonly string[]> {
    let left: readonly string[] = []
    this.#resting = true
    const clean = async () => {
      left = (await leftovers(this.#server, this.#config)).filter(
        what => !/-golden(?: on the disk| on n1)?$/.test(what),
      )
      return left.length === 0
    }
    for (let tries = 0; tries < 5; tries++) {
      if (await until('nothing is left behind', clean, 180_000).catch(() => false)) break
      // On a machine with much else to do a boot takes longer than that.
      if (!left.some(what => what.endsWith(' is running'))) break
      await this.#idle()
    }
    this.#resting = false
    return left
  }

  #ids(): readonly string[] {
    return this.#server.control.backends('web').map(({ id }) => id)
  }

  #fault(what: string): void {
    this.wrong.push(what)
    this.#say(`  FAULT ${what}`)
  }

  /** One client after another, without a session. */
  async #ask(): Promise<void> {
    const { port } = this.#server.listeners[0]!
    while (this.#asking) {
      await delay(50)
      if (this.#resting) continue
      const answer = await get(port, '/whoami', { timeoutMs: 200_000 }).catch(error => ({
        status: 0,
        body: `${error}`,
      }))
      if (answer.status !== 200)
        this.#failed.push(`a request failed: ${answer.status} ${answer.body.slice(0, 120)}`)
    }
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
