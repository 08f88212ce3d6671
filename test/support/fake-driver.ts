/**
 * Hypervisor nodes that exist only in memory, outlive the process that uses them, and fail on request at every stage of every
 * act: before it, half-way, after it. Each act leaves between its stages what a real one would leave. Where nothing fails it keeps
 * to what every driver keeps to: `test/contract/driver/fake.test.ts`.
 */
import type { Clock } from '../../lib/clock.ts'
import type { Resources } from '../../lib/config/config.ts'
import { TidegateError } from '../../lib/errors.ts'
import type {
  CloneSpec,
  Diagnosis,
  Driver,
  Held,
  HeldInstance,
  HeldSnapshot,
  Identity,
  IdentityAck,
  InstanceSpec,
  Owner,
} from '../../lib/hypervisor/driver.ts'
import { nobody } from '../../lib/hypervisor/ownership.ts'

/**
 * `fail` throws and cleans up as a driver should · `abandon` throws and cleans up nothing · `hang` waits until it is told
 * to stop · `deaf` takes its time, hears no signal and succeeds at last · `full` is a full disk · `crash` ends the process that
 * called. At `<act>:sent`, `twice`: the request arrives a second time, later.
 */
export type Fault = 'fail' | 'abandon' | 'hang' | 'deaf' | 'full' | 'twice' | 'crash' | null

/** What a process that uses the nodes brings along. */
export interface FakeProcess {
  readonly clock: Clock
  readonly alive: () => boolean
  /** Asked at each stage, `<act>:<stage>`. */
  readonly fault: (point: string, name: string) => Fault
  readonly crash: () => void
}

export interface FakeInstance extends HeldInstance {
  state: 'running' | 'paused' | 'stopped'
  /** The application's state: what a clone inherits. */
  memory: string[]
  /** What its memory rests on. */
  snapshot: string | null
  identity: Identity | null
  healthy: boolean
  /** What `resize` gave it; null before. */
  resources: Resources | null
  /** It was resized by a request that had been given up: no driver does that, and nobody can see it. */
  unheard?: boolean
  /** It runs and has no time for checks; its clones have. */
  busy: boolean
}

/** In an instance's memory: it hangs, and so will its clones. */
export const hung = 'hung'

interface FakeSnapshot extends HeldSnapshot {
  complete: boolean
  /** What a clone finds out before anything is started from it. */
  damaged?: boolean
  memory: string[]
  /** What its source had been given, which its clones have too. */
  resources?: Resources | null
  unheard?: boolean
}

/** What is known of one that does not run. */
const dead = { state: 'stopped', pid: null, residentBytes: null } as const
const namePattern = /^[a-z0-9-]{1,63}$/
/** What a template may say: nothing of it means anything here. */
const templateKeys: readonly string[] = ['command', 'cwd', 'env', 'release']

const hangMs = 3_600_000
const deafMs = 45_000
const againMs = 700
const stageMs = 5

export class FakeNode {
  readonly id: string
  readonly instances = new Map<string, FakeInstance>()
  readonly snapshots = new Map<string, FakeSnapshot>()
  /** Names of what is there and cannot be read. */
  readonly unreadable = { instances: new Set<string>(), snapshots: new Set<string>() }
  /** Called when something with an owner's tag begins to be there. */
  onMade: (name: string, owner: Owner) => void = () => {}
  /** Called before an instance stops or goes. */
  onEnd: (name: string) => void = () => {}
  /** What an instance gets of what `resize` asks for. */
  gives: (wanted: Resources, had: Resources | null) => Resources = wanted => wanted
  /** Its instances have the memory that they are given, as those of a hypervisor have. */
  sized = false
  /** What an instance answers that was told who it is. */
  onIdentity: (name: string, identity: Identity) => IdentityAck = (name, { incarnation }) => ({
    ...{ instanceId: name, incarnation, application: 'acknowledged' },
  })
  #port: number

  constructor(id: string, firstPort = 20_000) {
    this.id = id
    this.#port = firstPort
  }

  atPort(port: number): FakeInstance | null {
    return [...this.instances.values()].find(instance => instance.address?.port === port) ?? null
  }

  /** Somebody kills it from outside. */
  kill(name: string): void {
    const instance = this.instances.get(name)
    if (instance) Object.assign(instance, dead)
  }

  nextPort(): number {
    return this.#port++
  }

  connect(process: FakeProcess): Driver {
    return createFakeDriver(this, process)
  }
}

function createFakeDriver(node: FakeNode, process: FakeProcess): Driver {
  const { clock } = process
  const stage = async (point: string, name: string, signal?: AbortSignal): Promise<void> => {
    if (!process.alive()) return never()
    const fault = process.fault(point, name)
    if (fault === 'crash') {
      process.crash()
      return never()
    }
    if (fault === 'deaf') await clock.sleep(deafMs)
    else await clock.sleep(fault === 'hang' ? hangMs : stageMs, signal)
    if (!process.alive()) return never()
    if (fault === 'full') throw new TidegateError('disk_full', `${name}: no space left on device`)
    if (fault && fault !== 'deaf') throw Object.assign(failure(point, name), { abandon: fault === 'abandon' })
  }
  const named = (name: string): string => {
    if (!namePattern.test(name)) throw new TidegateError('invalid_request', `name ${JSON.stringify(name)}`)
    for (const names of Object.values(node.unreadable))
      if (names.has(name)) throw new TidegateError('hypervisor_unreachable', `${name} cannot be read`)
    return name
  }
  const known = (name: string): FakeInstance => {
    const instance = node.instances.get(named(name))
    if (!instance) throw new TidegateError('unknown_instance', `there is no ${name}`)
    return instance
  }
  const alive = (name: string): FakeInstance => {
    const instance = known(name)
    if (instance.state === 'stopped') throw failure('not running', name)
    return instance
  }
  const put = (spec: InstanceSpec, memory: readonly string[]): FakeInstance => {
    if (node.instances.has(spec.name)) throw failure('exists already', spec.name)
    const instance: FakeInstance = {
      name: spec.name,
      owner: spec.owner,
      state: 'stopped',
      address: null,
      createdAtMs: clock.now(),
      pid: null,
      residentBytes: null,
      memory: [...memory],
      snapshot: null,
      identity: null,
      healthy: true,
      resources: null,
      busy: false,
    }
    node.instances.set(spec.name, instance)
    node.onMade(spec.name, spec.owner)
    return instance
  }
  const launch = async (act: string, spec: InstanceSpec, memory: readonly string[], signal: AbortSignal) => {
    named(spec.name)
    const bad = faultsOf(spec.template).find(({ ok }) => !ok)
    if (bad) throw new TidegateError('template_invalid', bad.detail)
    await stage(`${act}:before`, spec.name, signal)
    const instance = put(spec, memory)
    try {
      await stage(`${act}:tagged`, spec.name, signal)
      const pid = node.nextPort()
      Object.assign(instance, {
        ...{ state: 'running', address: { host: '127.0.0.1', port: pid }, pid },
        residentBytes: 1_000_000,
      })
      await stage(`${act}:running`, spec.name, signal)
    } catch (error) {
      if (!(error as { abandon?: boolean }).abandon) node.instances.delete(spec.name)
      throw error
    }
    return { ...instance }
  }
  const end = (instance: FakeInstance) => {
    if (instance.state !== 'stopped') node.onEnd(instance.name)
    Object.assign(instance, dead)
  }
  return sentTwice(process, {
    kind: 'process',
    can: { resize: ['cpus', 'memory', 'disk'], snapshotWhileRunning: false, pause: true, sized: node.sized },
    check: async template => (template ? faultsOf(template) : []),
    create: (spec, signal) => launch('create', spec, [`booted ${spec.name}`], signal),
    async clone(spec: CloneSpec, signal) {
      const snapshot = node.snapshots.get(spec.snapshot)
      if (!snapshot?.complete) throw failure('no such snapshot', spec.snapshot)
      if (snapshot.damaged)
        throw new TidegateError(
          'snapshot_unusable',
          `snapshot ${spec.snapshot} cannot be used: it is damaged`,
        )
      const clone = await launch('clone', spec, snapshot.memory, signal)
      Object.assign(node.instances.get(spec.name)!, {
        snapshot: spec.snapshot,
        resources: snapshot.resources ?? null,
        unheard: snapshot.unheard ?? false,
      })
      return clone
    },
    async snapshot({ name, owner, source }, signal) {
      await stage('snapshot:before', source, signal)
      if (node.snapshots.has(named(name))) throw failure('exists already', name)
      const instance = known(source)
      if (instance.state !== 'running')
        throw new TidegateError('snapshot_failed', `${source} is ${instance.state}`)
      const snapshot: FakeSnapshot = {
        name,
        owner,
        createdAtMs: clock.now(),
        source,
        bytes: 1_000,
        complete: false,
        memory: [],
        resources: instance.resources,
        unheard: instance.unheard ?? false,
      }
      node.snapshots.set(name, snapshot)
      node.onMade(name, owner)
      const resume = () => {
        if (instance.state === 'paused') instance.state = 'running'
      }
      const there = () => {
        if (instance.state === 'stopped') throw new TidegateError('snapshot_failed', `${source} has died`)
      }
      try {
        await stage('snapshot:tagged', source, signal)
        there()
        instance.state = 'paused'
        await stage('snapshot:paused', source, signal)
        there()
        snapshot.memory = [...instance.memory]
        snapshot.complete = true
        await stage('snapshot:written', source, signal)
        resume()
      } catch (error) {
        if ((error as { abandon?: boolean }).abandon) throw error
        resume()
        node.snapshots.delete(name)
        throw error
      }
      await stage('snapshot:resumed', source, signal)
      return { snapshot: { ...snapshot }, pausedMs: 2 * stageMs }
    },
    async identify(name, identity, signal) {
      await stage('identify:before', name, signal)
      const instance = alive(name)
      if (instance.state !== 'running') throw failure('not running', name)
      instance.identity = identity
      await stage('identify:told', name, signal)
      return node.onIdentity(name, identity)
    },
    async resize(name, resources, signal) {
      await stage('resize:before', name, signal)
      const instance = alive(name)
      if (instance.state !== 'running') throw failure('not running', name)
      if (resources.diskBytes < (instance.resources?.diskBytes ?? 0))
        throw new TidegateError('resize_unsupported', `${name}: disks only grow`)
      const given = node.gives(resources, instance.resources)
      instance.resources = given
      if (signal.aborted) instance.unheard = true
      await stage('resize:done', name, signal)
      return { instance: { ...instance }, resources: given, application: 'acknowledged' }
    },
    async pause(name) {
      await stage('pause:before', name)
      const instance = alive(name)
      if (instance.state === 'running') instance.state = 'paused'
      await stage('pause:after', name)
    },
    async resume(name) {
      await stage('resume:before', name)
      const instance = alive(name)
      if (instance.state === 'paused') instance.state = 'running'
      await stage('resume:after', name)
    },
    async stop(name, _graceMs) {
      await stage('stop:before', name)
      const instance = node.instances.get(named(name))
      if (instance) end(instance)
      await stage('stop:after', name)
    },
    async destroy(name) {
      await stage('destroy:before', name)
      const instance = node.instances.get(named(name))
      if (instance) end(instance)
      await stage('destroy:half', name)
      node.instances.delete(name)
      node.snapshots.delete(name)
      await stage('destroy:after', name)
    },
    async inspect(): Promise<Held> {
      await stage('inspect:before', node.id).catch((error: unknown) => {
        throw new TidegateError('hypervisor_unreachable', `${node.id} cannot be asked`, { cause: error })
      })
      return {
        instances: [
          ...[...node.instances.values()].map(instance => ({ ...instance })),
          ...[...node.unreadable.instances].map(name => ({ ...stranger(name), state: 'unknown' as const })),
        ],
        snapshots: [
          ...[...node.snapshots.values()].map(snapshot => ({ ...snapshot })),
          ...[...node.unreadable.snapshots].map(name => ({ ...stranger(name), complete: false })),
        ],
      }
    },
  })
}

const stranger = (name: string) => ({
  ...{ name, owner: nobody, address: null, createdAtMs: 0, pid: null, residentBytes: null },
  ...{ source: '', bytes: 0 },
})

function faultsOf(template: InstanceSpec['template']): readonly Diagnosis[] {
  return Object.keys(template).map(key => {
    const ok = templateKeys.includes(key)
    const fix = `leave out \`${key}\``
    return { name: 'template', ok, detail: ok ? `\`${key}\` is there` : `no \`${key}\` is known`, fix }
  })
}

/** A request that was sent twice: nobody hears the second answer. */
function sentTwice(process: FakeProcess, driver: Driver): Driver {
  const acts = ['create', 'snapshot', 'clone', 'identify', 'resume', 'stop', 'destroy'] as const
  const twice = { ...driver }
  for (const act of acts) {
    const once = driver[act] as (...args: unknown[]) => Promise<unknown>
    const sent = (...args: unknown[]) => {
      const name = typeof args[0] === 'string' ? args[0] : (args[0] as { name: string }).name
      if (process.alive() && process.fault(`${act}:sent`, name) === 'twice') {
        const deaf = args.map(arg => (arg instanceof AbortSignal ? new AbortController().signal : arg))
        process.clock.after(againMs, () => void once(...deaf).catch(() => {}))
      }
      return once(...args)
    }
    Object.assign(twice, { [act]: sent })
  }
  return twice
}

const never = () => new Promise<never>(() => {})

function failure(point: string, name: string): TidegateError {
  return new TidegateError('hypervisor_failed', `${name}: ${point}`)
}
