/**
 * One case after another on one installation: the fault is done to a whole Tidegate on a real driver under a little load as a step begins. Whatever becomes
 * of the operation, it ends, what is served, stored and held agrees afterwards, nothing is left over, what was kept is kept, and no request failed that was
 * not on who was struck.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { systemClock } from '../../../lib/clock.ts'
import type { Command } from '../../../lib/command.ts'
import type { Driver } from '../../../lib/hypervisor/driver.ts'
import { createDriver } from '../../../lib/hypervisor/registry.ts'
import { silentLog } from '../../../lib/log.ts'
import type { OperationView } from '../../../lib/scaling/operation.ts'
import { recipeKind, recipeOf } from '../../../lib/scaling/recipes.ts'
import { type Server, startServer } from '../../../lib/server.ts'
import { get } from '../../support/load.ts'
import { until } from '../../support/wait.ts'
import { held } from '../churn/leftovers.ts'
import {
  type Case,
  type ClusterKind,
  type Fault,
  type RecipeCase,
  type Situation,
  scaleTo,
  type Victim,
} from './cases.ts'
import { Clients } from './clients.ts'
import { Doomed } from './controller.ts'
import { type Installation, install, type MatrixDriver, ttlSeconds } from './installation.ts'
import { type Circumstances, judge, type Span } from './judge.ts'
import { excuseMs, type Outcome } from './record.ts'

export interface SceneOptions {
  readonly driver: MatrixDriver
  readonly cluster: ClusterKind
  /** How many serve at the least. */
  readonly least: number
  readonly say: (line: string) => void
}

const stoppedMs = 6_000
const waitMs = 900_000
const dyingMs = 60_000
const settleMs = 240_000
/** What is claimed by nobody goes in a round of reconcile once it is half a minute old; on a machine with much else to do that is late. */
const guardedMs = 120_000
/** Between the end of a process and the news of it. */
const newsMs = 2_000
const heirloom = { path: '/sessions/heirloom', value: 'treasure' }

/** What a case has met, while it goes on. */
interface Course {
  readonly struck: Circumstances['struck'][number][]
  readonly away: Span[]
  victim: Victim | null
  /** The step that is meant began. */
  begun: boolean
  operation: OperationView | null
}

export class Scene {
  readonly #options: SceneOptions
  readonly #installation: Installation
  readonly #nodes: readonly Driver[]
  readonly #clients: Clients
  #server: Server | null = null
  /** Somebody died: pauses between repairs, and what is remembered of heirs, are in the controller's memory. */
  #marked = false
  /** Of who is first. */
  #cpus = 1
  /** Those that may be dead, and since when. */
  readonly #struck = new Map<string, number>()

  private constructor(options: SceneOptions, installation: Installation) {
    this.#options = options
    this.#installation = installation
    const deps = { clock: systemClock, log: silentLog }
    this.#nodes = installation.config.nodes.map(node => createDriver(node, deps))
    this.#clients = new Clients({ ttlMs: ttlSeconds * 1_000, pauseMs: 100 })
  }

  static async open(options: SceneOptions): Promise<Scene> {
    const { driver, cluster, least } = options
    const scene = new Scene(options, await install({ driver, cluster, maxInstances: least + 2 }))
    try {
      await scene.#start()
      await until('the first instance serves', () => scene.#ready(1), waitMs)
      return scene
    } catch (error) {
      await scene.close()
      throw error
    }
  }

  async close(): Promise<void> {
    await this.#clients.close()
    for (const disk of this.#installation.disks) disk.empty()
    await this.#stop()
    await this.#installation.remove()
  }

  /** Its machines run on without a controller, until the next case. */
  async leave(): Promise<void> {
    if (this.#server) await this.#stop()
  }

  async one(what: Case): Promise<Outcome> {
    const startedMs = performance.now()
    const { least } = this.#options
    const from = least + (what.recipe.more ?? 0)
    if (this.#marked || this.#server === null) await this.#start()
    this.#marked = false
    await this.#bringTo(from)
    if (what.recipe.small) await this.#makeSmall()
    const before = this.#ids()
    const answered = this.#clients.answers
    this.#clients.failures()
    await this.#clients.begin(before)
    const course: Course = { struck: [], away: [], victim: null, begun: false, operation: null }
    if (what.fault.startsWith('controller killed')) await this.#killController(what, before, course)
    else await this.#undergo(what, before, course)
    const enough = this.#clients.answers + before.length
    await until('clients are served', () => this.#clients.answers > enough, waitMs)
    await this.#clients.rest()
    const left = await this.#settled()
    // It may have stood still, and gone on by itself.
    const { operation } = course
    if (operation !== null) course.operation = await this.#server!.control.operation(operation.id)
    const wrong = [...judged(what, course), ...left]
    const { faults, excused } = judge(this.#clients.failures(), course)
    wrong.push(...faults, ...(await this.#lost(what)))
    this.#marked = course.struck.length > 0
    return {
      ...{ at: new Date().toISOString(), driver: this.#options.driver },
      ...{ name: what.name, step: what.step, fault: what.fault, victim: course.victim },
      status: course.operation?.status ?? 'refused',
      code: course.operation?.error?.code ?? null,
      ...(course.begun ? {} : { early: true as const }),
      seconds: Math.round((performance.now() - startedMs) / 100) / 10,
      answers: this.#clients.answers - answered,
      ...{ excused, wrong },
    }
  }

  /** As the step begins, in the very turn. */
  async #undergo(what: Case, before: readonly string[], course: Course): Promise<void> {
    const { control } = this.#server!
    let mend = async () => {}
    let struck: Promise<void> = Promise.resolve()
    let times = 0
    const standing = await this.#standbys()
    const stop = control.subscribe(({ event }) => {
      if (event.type !== 'operation_step' || event.step !== what.step || event.status !== 'started') return
      if (++times !== what.nth) return
      course.begun = true
      struck = this.#strike(what, before, standing, course).then(done => {
        mend = done
      })
    })
    try {
      course.operation = await this.#operate(what, before, course)
      await struck
      await mend()
    } finally {
      stop()
    }
  }

  /** Ends with the controller that comes after it. */
  async #killController(what: Case, before: readonly string[], course: Course): Promise<void> {
    const known = new Set((await this.#operations()).map(({ id }) => id))
    await this.#clients.rest()
    await this.#stop()
    const doomed = await Doomed.start(this.#installation.directory, waitMs)
    try {
      const kind = what.fault === 'controller killed' ? 'started' : 'done'
      const moment = what.fault.endsWith('unsaid') ? 'before' : 'after'
      await doomed.arm({ entry: what.nth, moment, step: what.step, kind })
      this.#clients.port = doomed.port
      this.#clients.goOn()
      if (what.recipe.command === null) await this.#killFirst(before[0]!, course)
      else doomed.execute(what.recipe.command(before[0]!, this.#situation(before)))
      const type = typeOf(what.recipe)
      course.begun = await doomed.died(type, known, waitMs)
    } finally {
      await doomed.kill()
    }
    const fromMs = Date.now() - newsMs
    this.#clients.port = 0
    await this.#start()
    course.away.push({ fromMs, toMs: Date.now() })
    await this.#server!.recovered
    await this.#idle()
    course.operation = (await this.#operations()).find(one => meant(what, one) && !known.has(one.id)) ?? null
  }

  /** Resolves to what mends it, once it is over. */
  async #strike(
    { fault, recipe }: Case,
    before: readonly string[],
    standing: ReadonlyMap<string, string>,
    course: Course,
  ): Promise<() => Promise<void>> {
    if (fault === 'disk full') return this.#fillDisks()
    const serving = new Set(
      this.#server!.control.backends('web').flatMap(one => (one.state === 'ready' ? [one.id] : [])),
    )
    const kindOf = (name: string): Victim => {
      if (!before.includes(name)) return [undefined, before[0]].includes(standing.get(name)) ? 'new' : 'other'
      if (recipe.concerns === 'leaving') return serving.has(name) ? 'other' : 'concerned'
      return recipe.concerns === 'all' || (recipe.concerns === 'first' && name === before[0])
        ? 'concerned'
        : 'other'
    }
    const all = (await Promise.all(this.#nodes.map(node => node.inspect()))).flatMap(one => one.instances)
    const there = all.filter(({ pid, state }) => pid !== null && state !== 'stopped')
    const kinds: readonly Victim[] = ['new', 'concerned', 'other']
    const [whom] = kinds.flatMap(kind => there.filter(({ name }) => kindOf(name) === kind))
    if (!whom?.pid) return async () => {}
    course.victim = kindOf(whom.name)
    this.#note(course, whom.name)
    return harm(fault, whom.pid, whom.address)
  }

  #note(course: Course, instance: string): void {
    const fromMs = Date.now()
    course.struck.push({ instance, fromMs, toMs: fromMs + excuseMs })
    this.#struck.set(instance, performance.now())
  }

  /** No more can be written on any node than its machines may need that run already. */
  async #fillDisks(): Promise<() => Promise<void>> {
    const { disks } = this.#installation
    if (disks.length === 0) throw new Error('no small disk can be mounted: root can')
    for (const disk of disks) disk.fill()
    return async () => {
      for (const disk of disks) disk.empty()
    }
  }

  /** Null: none was begun. */
  async #operate({ recipe, ...what }: Case, before: readonly string[], course: Course) {
    const known = new Set((await this.#operations()).map(({ id }) => id))
    if (recipe.command !== null) return this.#carryOut(recipe.command(before[0]!, this.#situation(before)))
    await this.#killFirst(before[0]!, course)
    const found = await until(
      'its clone takes its place',
      async () =>
        (await this.#operations()).find(one => meant({ recipe, ...what }, one) && !known.has(one.id)),
      waitMs,
    )
    return this.#server!.control.waitOperation(found.id, waitMs)
  }

  async #killFirst(id: string, course: Course): Promise<void> {
    const all = (await Promise.all(this.#nodes.map(node => node.inspect()))).flatMap(one => one.instances)
    const pid = all.find(({ name }) => name === id)?.pid
    if (!pid) throw new Error(`${id} has no process`)
    this.#note(course, id)
    signal(pid, 'SIGKILL')
  }

  async #carryOut(command: Command): Promise<OperationView | null> {
    const { control } = this.#server!
    await this.#idle()
    try {
      const result = await control.execute(command, 'matrix')
      return result.result === 'operation' ? await control.waitOperation(result.operation.id, waitMs) : null
    } catch (error) {
      this.#options.say(`  ${(error as Error).message}`)
      return null
    }
  }

  #situation(before: readonly string[]): Situation {
    return { serving: before.length, cpus: this.#cpus }
  }

  async #bringTo(count: number): Promise<void> {
    const well = () => this.#ready(1)
    for (let tries = 0; this.#ids().length !== count || !well(); tries++) {
      if (tries > 10) throw new Error(`it does not come to ${count} instances`)
      await until('the members are well', well, waitMs)
      if (this.#ids().length !== count)
        await this.#carryOut({ ...scaleTo(count), immediate: true, drainConnections: false } as Command)
    }
    if (this.#options.cluster !== 'golden') for (const one of this.#backends()) await this.#tell(one)
    await until('clones stand by', () => this.#stoodFor(), waitMs)
    this.#cpus = this.#backends()[0]!.instance?.resources?.cpus ?? 1
  }

  async #makeSmall(): Promise<void> {
    for (const { id: instanceId, instance } of this.#backends())
      if ((instance?.resources?.cpus ?? 1) > 1)
        await this.#carryOut({ kind: 'resize', cluster: 'web', instanceId, resources: { cpus: 1 } })
  }

  /** Past the front door. */
  async #tell({ host, port }: { readonly host: string; readonly port: number }): Promise<void> {
    if ((await get(port, heirloom.path, { host })).status === 200) return
    await get(port, heirloom.path, { host, method: 'POST', body: heirloom.value })
  }

  /** Whoever was made was cloned of one that knows it. */
  async #lost({ recipe }: Case): Promise<readonly string[]> {
    if (this.#options.cluster === 'golden' || recipe.fresh) return []
    const asked = this.#backends().map(async ({ id, host, port }) => {
      const { status, body } = await get(port, heirloom.path, { host, timeoutMs: waitMs })
      return status === 200 && body.includes(heirloom.value)
        ? []
        : [`${id} has lost what was kept: ${status}`]
    })
    return (await Promise.all(asked)).flat()
  }

  /** In words what is left or lacking; it is waited for, as housekeeping has its time. */
  async #settled(): Promise<readonly string[]> {
    let left: readonly string[] = []
    const clean = async () => {
      left = await this.#left()
      return left.length === 0
    }
    // On a machine with much else to do a boot takes longer than that, and a clone that stands by is tried for again and again.
    for (let tries = 0; tries < 4; tries++) {
      if (await until('nothing is left behind', clean, settleMs).catch(() => false)) break
      if (!left.some(what => / is (?:running|drained)$|^no clone stands by/.test(what))) break
    }
    return left.map(what => `left: ${what}`)
  }

  async #left(): Promise<readonly string[]> {
    const { control } = this.#server!
    const found: string[] = []
    for (const { id, state, in_flight, tunnels } of this.#backends()) {
      if (state !== 'ready') found.push(`${id} is ${state}`)
      if (in_flight + tunnels > 0) found.push(`${id}: ${in_flight} in flight, ${tunnels} tunnels`)
    }
    for (const { id, status } of await this.#operations())
      if (status === 'running' || status === 'stuck') found.push(`operation ${id} is ${status}`)
    const { wanted } = await control.status('web')
    if (this.#ids().length !== wanted) found.push(`${this.#ids().length} serve, and ${wanted} are wanted`)
    if (!(await this.#stoodFor())) found.push('no clone stands by for somebody')
    // The look at the nodes and the disk is dear.
    if (found.length > 0) return found
    const standing = [...(await this.#standbys()).keys()]
    const bodies = await this.#bodies()
    const rest = await held(this.#installation.config, [...this.#ids(), ...standing, ...bodies])
    return rest.filter(
      what =>
        !/-golden(?: on the disk| on n\d)?$/.test(what) &&
        !standing.some(name => what === `${name} is paused`) &&
        !bodies.some(name => what === `${name} is stopped`),
    )
  }

  /** What is left of those who were struck: it is guarded for half a minute, and nobody waits for that but the last. */
  async #bodies(): Promise<readonly string[]> {
    const claimed = new Set([...this.#ids(), ...(await this.#standbys()).keys()])
    const all = (await Promise.all(this.#nodes.map(node => node.inspect()))).flatMap(one => one.instances)
    const names = new Set(all.map(({ name }) => name))
    for (const name of this.#struck.keys()) if (!names.has(name)) this.#struck.delete(name)
    return [...this.#struck].flatMap(([name, atMs]) =>
      claimed.has(name) || performance.now() - atMs > guardedMs ? [] : [name],
    )
  }

  async #stoodFor(): Promise<boolean> {
    if (this.#options.cluster !== 'standby') return true
    const { standby = [] } = await this.#server!.control.status('web')
    const whole = standby.filter(({ as_of: asOf }) => asOf !== null).map(({ of }) => of)
    return standby.length === this.#ids().length && this.#ids().every(id => whole.includes(id))
  }

  /** By name, for whom it stands by. */
  async #standbys(): Promise<ReadonlyMap<string, string>> {
    const { standby = [] } = await this.#server!.control.status('web')
    return new Map(standby.map(({ instance_id: name, of }) => [name, of]))
  }

  #operations(): Promise<readonly OperationView[]> {
    return this.#server!.control.operations({ limit: 50 })
  }

  async #idle(): Promise<void> {
    await until(
      'nothing runs',
      async () => (await this.#operations()).every(({ status }) => status !== 'running'),
      waitMs,
    )
  }

  #backends() {
    return this.#server!.control.backends('web')
  }

  #ids(): readonly string[] {
    return this.#backends().map(({ id }) => id)
  }

  #ready(least: number): boolean {
    const backends = this.#backends()
    return backends.length >= least && backends.every(({ state }) => state === 'ready')
  }

  /** Anew, if there is one. */
  async #start(): Promise<void> {
    if (this.#server) await this.#clients.rest()
    await this.#stop()
    this.#server = await startServer(this.#installation.config, { log: silentLog })
    this.#clients.port = this.#server.listeners[0]!.port
  }

  async #stop(): Promise<void> {
    const server = this.#server
    this.#server = null
    this.#clients.port = 0
    await server?.close({ graceMs: 0 })
  }
}

function judged({ step, fault }: Case, { begun, victim, operation }: Course): readonly string[] {
  if (!begun) return [`${step} never began`]
  const wrong: string[] = []
  if (['killed', 'application killed', 'stopped'].includes(fault) && victim === null)
    wrong.push('there was nobody to strike')
  if (operation !== null && !['completed', 'failed', 'cancelled'].includes(operation.status))
    wrong.push(`the operation is ${operation.status}: ${operation.error?.message}`)
  return wrong
}

/** Of the operation that its command begins. */
function typeOf({ kind }: RecipeCase): string {
  if (kind === 'replace_on_trial') return 'rolling_replace'
  return kind === 'scale_out_to_cpus' ? 'scale_out' : kind
}

/** Whether it is the operation whose steps the case names. */
function meant({ recipe, step }: Pick<Case, 'recipe' | 'step'>, operation: OperationView): boolean {
  const { type, request } = operation
  if (recipe.kind === 'replace_on_trial') return type === 'replace'
  const record = { type, request } as Parameters<typeof recipeOf>[0]
  if (recipeKind(record) !== recipe.kind) return false
  return recipeOf(record).steps.some(({ name }) => name === step)
}

/** Resolves to what it takes until it is over. */
async function harm(
  fault: Fault,
  pid: number,
  address: { readonly host: string; readonly port: number } | null,
): Promise<() => Promise<void>> {
  if (fault === 'killed') {
    signal(pid, 'SIGKILL')
    return async () => {}
  }
  if (fault === 'application killed') {
    // It says nothing any more: what it is asked with fails. One that is paused right now hears it when it runs again.
    const told = address
      ? get(address.port, '/killed', { ...address, method: 'POST', timeoutMs: dyingMs }).catch(() => {})
      : null
    // Its machine ends with it; one that is paused for good does not.
    const over = async () => {
      await told
      await until('it has ended', () => !runs(pid), dyingMs).catch(() => {})
    }
    return over
  }
  signal(pid, 'SIGSTOP')
  const over = delay(stoppedMs).then(() => signal(pid, 'SIGCONT'))
  return () => over
}

function runs(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
