/**
 * One life of a Tidegate, from one seed: the real control code over nodes, a network, a disk and a clock that are made of chance.
 * The process is killed at any await, answers are lost or come late, requests arrive twice, sockets hang, disks fill up, nodes go
 * away and come back, two people ask at once, load comes and goes. Then it is quiet, and everything has to come right by itself.
 */
import { Board } from '../../../lib/cluster/board.ts'
import type { OperationRequest } from '../../../lib/scaling/operation.ts'
import type { FakeNode, Fault } from '../../support/fake-driver.ts'
import { faultsOf, nowhere } from '../../support/scaling-check.ts'
import { clusterConfig, Lab, roundMs } from '../../support/scaling-lab.ts'
import { Chance } from './chance.ts'
import { Invariants } from './invariants.ts'

/** What one life came to. */
export interface Life {
  readonly seed: number
  /** Empty when all was well. */
  readonly broken: readonly string[]
  /** What happened, a line an event. */
  readonly log: readonly string[]
  readonly outcomes: readonly string[]
  /** The recipes that were begun. */
  readonly kinds: readonly string[]
}

/** How often each fault comes, an act of a driver. */
const shares = { fail: 0.02, abandon: 0.012, hang: 0.006, deaf: 0.006, crash: 0.006 }
const storeShares = { fail: 0.01, crash: 0.008 }
const publishShare = 0.04
const twiceShare = 0.03
/** Of what is asked for. */
const rollingShare = 0.12
const resizeShare = 0.06
/** In three of eight lives those who are there grow first, and CPUs are asked for now and then. */
const growsEach = 8
const growsOf = 3
const cpusShare = 0.2
/** In each fifth life a clone stands by for each instance. */
const standbyEach = 5
const refreshShare = 0.3
/** Of looks at what stands by: one dies for whom somebody does. */
const deathShare = 0.25
/** In each fourth life another cluster wants the same nodes, and in each third new ones are clones of a golden snapshot. */
const twoClustersEach = 4
const goldenEach = 3
const acts = 7
/** More rounds than the longest pauses of anything take. */
const quietRounds = 24

export async function live(seed: number): Promise<Life> {
  // Thousands of errors are made that nobody reads.
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  const world = new Simulation(seed)
  try {
    await world.run()
  } catch (error) {
    world.broken.push(`it broke: ${error instanceof Error ? error.stack : String(error)}`)
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
  return { seed, broken: world.broken, log: world.log, outcomes: world.outcomes, kinds: world.kinds }
}

class Simulation {
  readonly broken: string[] = []
  readonly log: string[] = []
  outcomes: readonly string[] = []
  readonly #chance: Chance
  readonly #lab: Lab
  readonly #invariants: Invariants
  readonly #standby: boolean
  readonly #grows: boolean
  /** Until when a node cannot be asked, and its disk is full. */
  readonly #awayUntil = new Map<string, number>()
  #fullUntil = 0

  constructor(seed: number) {
    const chance = new Chance(seed)
    this.#chance = chance
    const { scaling, instance } = clusterConfig()
    this.#standby = seed % standbyEach === standbyEach - 1
    this.#grows = seed % growsEach >= growsEach - growsOf
    // Room for the clones too, or who dies could find his place taken by one.
    const cpus = chance.whole(4, 7) * (this.#standby ? 3 : 1)
    const two = seed % twoClustersEach === 1
    this.#lab = new Lab({
      nodes: chance.happens(0.5)
        ? [
            { id: 'n1', cpus },
            { id: 'n2', cpus: 4 },
          ]
        : [{ id: 'n1', cpus }],
      cluster: {
        scaling: {
          ...scaling,
          disruptionBudget: chance.whole(1, 3),
          minInstances: chance.whole(1, 2),
          maxInstances: chance.whole(3, 6),
          resizeFirstCpus: this.#grows ? 2 : 0,
        },
        instance: { ...instance!, cloneFrom: seed % goldenEach === 2 ? 'golden' : 'live' },
        ...(this.#standby ? { standby } : {}),
      },
      ...(two ? { others: ['api'] } : {}),
      random: chance.next,
      board,
    })
    const away = (node: string) => this.#lab.time.now < (this.#awayUntil.get(node) ?? 0)
    this.#invariants = new Invariants(this.#lab, away)
  }

  async run(): Promise<void> {
    const lab = this.#lab
    await this.#boot()
    this.#faulty()
    for (let act = 0; act < acts; act++) {
      if (!lab.alive && !(await this.#boot())) continue
      await lab.survive(() => this.#act())
    }
    this.#say('quiet')
    lab.faults = {}
    this.#fullUntil = 0
    this.#awayUntil.clear()
    const left = await this.#quiet()
    this.outcomes = (await lab.store.operations({ limit: 1_000 })).map(record => record.outcome ?? 'running')
    this.#invariants.ended()
    this.broken.push(...this.#invariants.broken, ...left)
    await lab.close()
  }

  get kinds(): readonly string[] {
    return this.#invariants.kinds
  }

  #say(text: string): void {
    this.log.push(`${((this.#lab.time.now - startMs) / 1000).toFixed(3)} ${text}`)
  }

  async #boot(): Promise<boolean> {
    this.#say('boot')
    this.#invariants.restarted()
    const lab = this.#lab
    try {
      const up = await lab.boot()
      lab.events.subscribe(({ event }) => {
        if (event.type === 'operation_step') this.#say(`${event.operation_id} ${event.step} ${event.status}`)
        if (event.type === 'operation_ended') this.#say(`${event.operation_id} ${event.outcome}`)
      }, 0)
      return up
    } catch (error) {
      this.#say(`did not start: ${error}`)
      return false
    }
  }

  #faulty(): void {
    const { faults, time } = this.#lab
    const chance = this.#chance
    const told = <T>(what: string, fault: T): T => {
      if (fault) this.#say(`fault ${fault} at ${what}`)
      return fault
    }
    faults.driver = (point, name): Fault => {
      if (point === 'inspect:before') return told(`${point} ${name}`, this.#inspected(name, time.now))
      if (point.endsWith(':sent'))
        return chance.happens(twiceShare) ? told(`${point} ${name}`, 'twice') : null
      if (time.now < this.#fullUntil && point.endsWith(':tagged')) return told(`${point} ${name}`, 'full')
      return told(`${point} ${name}`, chance.among(shares))
    }
    faults.store = (moment, write) => told(`write ${write} ${moment}`, chance.among(storeShares))
    faults.publish = () => told('publish', chance.happens(publishShare))
  }

  #inspected(node: string, nowMs: number): Fault {
    const fault = nowMs < (this.#awayUntil.get(node) ?? 0) ? 'fail' : this.#chance.among(shares)
    if (fault !== null) this.#invariants.unasked(node)
    return fault
  }

  async #act(): Promise<void> {
    const { happens, whole, one } = bound(this.#chance)
    const lab = this.#lab
    const clock = lab.time.connect(() => lab.alive)
    const kind = this.#chance.among({
      operate: 0.35,
      race: this.#lab.configs.length > 1 ? 0.3 : 0.12,
      drain: 0.05,
      protect: 0.05,
      kill: 0.12,
      away: 0.1,
      full: 0.06,
      load: 0.08,
      restart: 0.07,
    })
    this.#say(`act ${kind ?? 'operate'}`)
    if (kind === 'kill') {
      this.#kill(one(lab.nodes.flatMap(node => [...node.instances.keys()])))
    }
    if (kind === 'away') this.#awayUntil.set(one(lab.nodes)!.id, lab.time.now + whole(1, 60) * 1_000)
    if (kind === 'full') this.#fullUntil = lab.time.now + whole(1, 30) * 1_000
    if (kind === 'load') this.#load()
    if (kind === 'drain') await this.#drain()
    if (kind === 'protect') await this.#protect()
    if (kind === 'restart') return lab.kill()
    const asked = await Promise.all((kind === 'race' ? [1, 2] : [1]).map(() => this.#ask()))
    const [id] = asked.filter(one => one !== null)
    if (id && happens(0.2)) {
      await clock.sleep(this.#chance.next() * 400)
      await lab.scaling.cancel(id).catch(() => {})
    }
    if (id && happens(0.7)) await lab.meanwhile(lab.scaling.wait(id, 400_000)).catch(() => {})
    if (happens(0.3)) this.#load()
    await clock.sleep(whole(0, 20) * 1_000)
    await lab.reconcile()
    if (this.#standby) await this.#standBy()
    const [stuck] = lab.configs.flatMap(({ id }) => lab.scaling.stuck(id))
    if (stuck && happens(0.3)) await lab.scaling.acknowledge(stuck, 'test').catch(() => {})
  }

  /** Where there is but one there is nothing to choose. */
  #cluster(): string {
    const { configs } = this.#lab
    return configs.length === 1 ? configs[0]!.id : this.#chance.one(configs)!.id
  }

  /** A node is emptied, or takes new ones again. */
  async #drain(): Promise<void> {
    const { scaling, nodes } = this.#lab
    const { id } = this.#chance.one(nodes)!
    const again = this.#chance.happens(0.4)
    try {
      await (again ? scaling.readyNode(id, 'test') : scaling.drainNode(id, 'test'))
      this.#say(`${again ? 'ready' : 'drain'} ${id}`)
    } catch (error) {
      this.#say(`refused: ${(error as { code?: string }).code ?? error}`)
    }
  }

  /** Somebody must not leave by a scale-in, or may again. */
  async #protect(): Promise<void> {
    const { scaling, clusters, time } = this.#lab
    const cluster = this.#cluster()
    const on = this.#chance.happens(0.7)
    const id = this.#chance.one(clusters.backends(cluster))?.id ?? 'nobody'
    const about = { cluster, backend: id, actor: 'test', action: 'protect_backend', outcome: 'done' } as const
    const record = { ...about, atMs: time.now, from: !on, to: on, reason: `Protected instance ${id}` }
    // Until it is told nobody can say.
    this.#invariants.protect(cluster, id, false)
    try {
      await scaling.protect(cluster, id, on, { put: 'history', record })
      this.#invariants.protect(cluster, id, on)
      this.#say(`${id} is ${on ? '' : 'not '}protected`)
    } catch (error) {
      this.#say(`refused: ${(error as { code?: string }).code ?? error}`)
    }
  }

  /** What is to stand by is made, or made anew. */
  async #standBy(): Promise<void> {
    const lab = this.#lab
    const { readiness } = lab.scaling
    if (this.#chance.happens(refreshShare)) readiness.refresh(this.#cluster())
    await lab.meanwhile(readiness.keepReady())
    if (this.#chance.happens(deathShare))
      this.#kill(this.#chance.one(lab.clusters.backends(this.#cluster()))?.id)
  }

  #kill(name: string | undefined): void {
    for (const node of this.#lab.nodes) if (name !== undefined) node.kill(name)
  }

  /** Somebody asks for something; null when it is refused. */
  async #ask(): Promise<string | null> {
    const { happens, whole, one } = bound(this.#chance)
    const lab = this.#lab
    const cluster = this.#cluster()
    const named = one(lab.clusters.backends(cluster))
    const target = whole(1, 6)
    const type = target > lab.scaling.count(cluster) ? 'scale_out' : 'scale_in'
    const memoryBytes = whole(1, 3) * 64 * 1024 ** 2
    const request: OperationRequest =
      happens(resizeShare) && named
        ? { type: 'resize', instance_id: named.id, resources: { memoryBytes } }
        : happens(0.25) && named
          ? { type: 'replace', instance_id: named.id }
          : { type, target_count: target, immediate: happens(0.3), drain_connections: happens(0.8) }
    try {
      if (this.#grows && happens(cpusShare))
        return await this.#start(cluster, { type: 'scale_out', target_cpus: whole(2, 8) })
      if (happens(rollingShare)) return await this.#roll(cluster)
      return await this.#start(cluster, request)
    } catch (error) {
      this.#say(`refused: ${(error as { code?: string }).code ?? error}`)
      return null
    }
  }

  async #start(cluster: string, request: OperationRequest): Promise<string> {
    const { id } = await this.#lab.scaling.start(cluster, request, 'test')
    this.#say(`${id} ${JSON.stringify(request)}`)
    return id
  }

  /** A new template is put into service, batch by batch; now and then it is a bad one. */
  async #roll(cluster: string): Promise<string> {
    const { happens, whole, one } = bound(this.#chance)
    const lab = this.#lab
    const release = whole(1, 3)
    const { instance } = lab.config
    // Not by `Lab.reconfigure`: that would move time from within.
    lab.config = { ...lab.config, instance: { ...instance!, template: { release } } }
    await lab.clusters.reconfigure(lab.configs)
    const wish = {
      ...{ batch_size: one([1, 1, 2, '50%', '100%'])!, pause_seconds: whole(0, 5), max_failure_ratio: 0.2 },
    }
    const { id } = await lab.scaling.replaceRolling(cluster, wish, 'test')
    this.#say(`${id} to release ${release} ${JSON.stringify(wish)}`)
    if (happens(0.3)) this.#spoil(id, whole(100, 8_000))
    return id
  }

  /** Whatever serves then fails its exchanges. */
  #spoil(id: string, afterMs: number): void {
    const lab = this.#lab
    lab.time
      .connect(() => lab.alive)
      .after(afterMs, () => {
        this.#say(`${id} does badly`)
        for (const { slot } of lab.clusters.table().clusters.flatMap(cluster => cluster.members)) {
          lab.board.add(0, slot, 'started', 30)
          lab.board.add(0, slot, 'failed', 30)
        }
      })
  }

  /** Exchanges under way on some member, or none any more. */
  #load(): void {
    const members = this.#lab.clusters.table().clusters.flatMap(cluster => cluster.members)
    const member = this.#chance.one(members)
    if (!member) return
    const now = this.#lab.board.total(member.slot, 'inFlight')
    this.#lab.board.add(
      0,
      member.slot,
      'inFlight',
      this.#chance.happens(0.5) ? -now : this.#chance.whole(1, 20),
    )
  }

  /** What is wrong in the end. Nothing goes wrong any more: rounds of reconcile until everything is right, or for as long as it may take. */
  async #quiet(): Promise<readonly string[]> {
    const lab = this.#lab
    if (!lab.alive && !(await this.#boot())) throw new Error('it does not start in peace')
    for (const member of lab.clusters.table().clusters.flatMap(cluster => cluster.members))
      lab.board.add(0, member.slot, 'inFlight', -lab.board.total(member.slot, 'inFlight'))
    await this.#ready(lab.nodes.filter(() => this.#chance.happens(0.5)))
    for (let round = 0; round < quietRounds; round++) {
      await lab.time.pass(roundMs)
      await this.#helped(round)
      await this.#settled()
      if (this.#standby) await lab.time.until(lab.meanwhile(lab.scaling.readiness.keepReady()))
      if (round > 1 && (await this.#faults()).length === 0) return []
    }
    // Whoever could not be asked for its health when it was registered is asked again with the next check.
    await lab.time.pass(lab.config.health.intervalMs * 1.2)
    await this.#settled()
    return this.#faults()
  }

  async #settled(): Promise<void> {
    const lab = this.#lab
    await lab.time.until(lab.reconcile())
    await lab.time.until(lab.atRest())
  }

  /** What cannot be undone for want of room waits for a person, who makes some, and ends it as it stands where there is none to be made. */
  async #helped(round: number): Promise<void> {
    const lab = this.#lab
    const stuck = lab.configs.flatMap(({ id }) => lab.scaling.stuck(id))
    if (stuck.length === 0) return
    await this.#ready(lab.nodes)
    if (round < quietRounds / 2 || !nowhere(lab)) return
    for (const id of stuck) {
      this.#say(`${id} is stuck, and there is no room`)
      await lab.time.until(lab.scaling.acknowledge(id, 'test'))
    }
  }

  /** They take new ones again; others that are being emptied come to their end. */
  async #ready(nodes: readonly FakeNode[]): Promise<void> {
    const { time, scaling } = this.#lab
    for (const { id } of nodes) await time.until(scaling.readyNode(id, 'test'))
  }

  async #faults(): Promise<readonly string[]> {
    return [...(await faultsOf(this.#lab)), ...this.#notEmptied()]
  }

  /** A node that is being emptied is empty, or it is said why not. */
  #notEmptied(): readonly string[] {
    const { nodes, nodeConfigs, scaling } = this.#lab
    return nodes.flatMap((node, index) => {
      const { drain } = scaling.report.nodeFacts(nodeConfigs[index]!, null)
      if (drain === null || drain.blocked.length > 0 || node.instances.size === 0) return []
      return [`${node.id} was to be emptied, and has ${[...node.instances.keys()]}`]
    })
  }
}

/** One life at a time: a board is a megabyte. */
const board = Board.create(1)
const standby = {
  ...{ scaleToZero: null, warmPool: null },
  clones: {
    ...{ count: 1, refresh: '* * * * *' },
    wait: {
      idleAfterMs: Number.POSITIVE_INFINITY,
      maxWaiting: 10,
      waitTimeoutMs: 10_000,
      afterFailure: true,
    },
  },
} as const
const startMs = 1_700_000_000_000
const bound = (chance: Chance) => ({
  happens: chance.happens.bind(chance),
  whole: chance.whole.bind(chance),
  one: chance.one.bind(chance),
})
