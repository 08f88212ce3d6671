/**
 * The embedded driver: an instance is a child process, and its state travels through the guest library. For trying
 * Tidegate out, for tests, and for applications that are happy as processes. It isolates nothing and enforces no
 * resources; a clone is a new process that was given the source's state, so only what the application hands over is kept.
 */
import { randomBytes } from 'node:crypto'
import { readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../clock.ts'
import type { NodeConfig, Resources } from '../../config/config.ts'
import { TidegateError } from '../../errors.ts'
import { GuestClient } from '../../guest/client.ts'
import { guestEnv, guestLimits } from '../../guest/protocol.ts'
import type { Log } from '../../log.ts'
import type {
  CloneSpec,
  Diagnosis,
  Driver,
  Held,
  HeldInstance,
  Identity,
  IdentityAck,
  InstanceSpec,
  ResizeReport,
  SnapshotReport,
  SnapshotRequest,
} from '../driver.ts'
import { ioError, isCode, Ownership, writeDurably } from '../ownership.ts'
import { diagnose } from './check.ts'
import { continueProcesses, endProcesses, type Processes, pauseProcesses } from './end.ts'
import { heldInstance, keepLogSmall } from './held.ts'
import { launch, noAgent } from './launch.ts'
import { type InstanceFields, readInstanceFields } from './records.ts'
import { heldSnapshot, type SavedState, savedState, takeSnapshot } from './snapshots.ts'
import { socketPath } from './socket.ts'
import { type ProcessOptions, parseOptions, parseTemplate } from './template.ts'

const tokenFile = 'token'
/** More than the guest allows its hooks, so that the guest's own word is heard first. */
const identifyTimeoutMs = guestLimits.identifyHookMs + 5_000
const dyingMs = 500
const pollMs = 10
const stateTimeoutMs = guestLimits.stateTransferMs + 5_000

export function createProcessDriver(
  node: NodeConfig,
  deps: { readonly clock: Clock; readonly log: Log },
): Driver {
  return new ProcessDriver(node, parseOptions(node.options), deps)
}

interface Known extends Processes {
  readonly fields: InstanceFields
  readonly instance: HeldInstance
  readonly directory: string
}

class ProcessDriver implements Driver {
  readonly kind = 'process'
  /** Resources are enforced by nobody here, so there is nothing that could be given. State is handed over while it serves. */
  readonly can = { resize: [], snapshotWhileRunning: true, pause: true, sized: false } as const
  readonly #node: NodeConfig
  readonly #options: ProcessOptions
  readonly #clock: Clock
  readonly #log: Log
  readonly #ownership: Ownership

  constructor(node: NodeConfig, options: ProcessOptions, deps: { readonly clock: Clock; readonly log: Log }) {
    this.#node = node
    this.#options = options
    this.#clock = deps.clock
    this.#log = deps.log
    this.#ownership = new Ownership(node.directory, deps.clock)
  }

  check(template: Readonly<Record<string, unknown>> | null): Promise<readonly Diagnosis[]> {
    return diagnose(this.#node.directory, template)
  }

  create(spec: InstanceSpec, signal: AbortSignal): Promise<HeldInstance> {
    return this.#begin(spec, null, signal)
  }

  async clone(spec: CloneSpec, signal: AbortSignal): Promise<HeldInstance> {
    return this.#begin(spec, await savedState(this.#ownership, spec.snapshot), signal)
  }

  async snapshot(request: SnapshotRequest, signal: AbortSignal): Promise<SnapshotReport> {
    signal.throwIfAborted()
    const source = await this.#known(request.source)
    const { state } = source.instance
    if (state === 'stopped') throw notRunning(request.source)
    if (state !== 'running') {
      throw new TidegateError('snapshot_failed', `${request.source} is ${state}; resume it first`)
    }
    const client = await this.#client(source.directory, source.fields)
    try {
      return await takeSnapshot(this.#ownership, request, client, { timeoutMs: stateTimeoutMs, signal })
    } catch (error) {
      signal.throwIfAborted()
      throw await this.#whyNoSnapshot(request.source, source.fields, error)
    }
  }

  async identify(name: string, identity: Identity, signal: AbortSignal): Promise<IdentityAck> {
    signal.throwIfAborted()
    const { instance, fields, directory } = await this.#known(name)
    if (instance.state === 'stopped') throw notRunning(name)
    // Without an agent there is nobody to tell, and in a process that was started afresh nothing to mend.
    if (!(await exists(fields.socket))) {
      return { instanceId: identity.instanceId, incarnation: identity.incarnation, application: 'no_hook' }
    }
    const client = await this.#client(directory, fields)
    const answer = await client.identify(identity, { timeoutMs: identifyTimeoutMs, signal })
    return {
      instanceId: answer.instance_id,
      incarnation: answer.incarnation,
      application: answer.application,
    }
  }

  async resize(name: string, _resources: Resources, signal: AbortSignal): Promise<ResizeReport> {
    signal.throwIfAborted()
    await this.#known(name)
    throw new TidegateError(
      'resize_unsupported',
      `${name} is a process, which has no resources of its own; replace it by an instance with others`,
    )
  }

  async pause(name: string): Promise<void> {
    const known = await this.#known(name)
    if (known.instance.state === 'stopped') throw notRunning(name)
    await pauseProcesses(known)
  }

  async resume(name: string): Promise<void> {
    const known = await this.#known(name)
    if (known.instance.state === 'stopped') throw notRunning(name)
    if (known.instance.state === 'paused') await continueProcesses(known)
  }

  async stop(name: string, graceMs: number): Promise<void> {
    if ((await this.#ownership.read('instances', name)) === null) return
    await endProcesses(await this.#known(name), graceMs, this.#clock)
  }

  async destroy(name: string): Promise<void> {
    const kind = await this.#ownership.kindOf(name)
    if (kind === 'instances') {
      const known = await this.#known(name)
      await endProcesses(known, 0, this.#clock)
      await rm(known.fields.socket, { force: true })
    }
    if (kind !== null) await this.#ownership.remove(kind, name)
  }

  async inspect(): Promise<Held> {
    const instances: HeldInstance[] = []
    for (const found of await this.#ownership.list('instances')) {
      instances.push(await heldInstance(found, markOf(found.path)))
      await keepLogSmall(found.path)
    }
    const snapshots = []
    for (const found of await this.#ownership.list('snapshots')) snapshots.push(await heldSnapshot(found))
    return { instances, snapshots }
  }

  /** The way of every new instance: claim, token, process, record, state, answer. On failure nothing is left of it. */
  async #begin(spec: InstanceSpec, state: SavedState | null, signal: AbortSignal): Promise<HeldInstance> {
    const { name } = spec
    const template = parseTemplate(spec.template)
    signal.throwIfAborted()
    if (template.cwd !== null && !(await exists(template.cwd))) {
      throw new TidegateError(
        'template_invalid',
        `process template: cwd: there is no directory ${template.cwd}`,
      )
    }
    const socket = await socketPath(this.#ownership.path('instances', name))
    const fields = { socket, address: null, process: null, resources: spec.resources, port: spec.port }
    const directory = await this.#ownership.claim('instances', name, spec.owner, fields)
    try {
      const token = randomBytes(32).toString('base64url')
      await writeDurably(join(directory, tokenFile), token).catch(error => {
        throw ioError(error, `cannot start ${name}`)
      })
      await launch({
        name,
        directory,
        template,
        socket,
        tokenFile: join(directory, tokenFile),
        client: new GuestClient({ socketPath: socket }, token, this.#clock),
        timeoutMs: this.#options.startTimeoutMs,
        record: async (process, address) => {
          await this.#ownership.update('instances', name, { process, address })
        },
        restore: state && (client => giveBack(name, state, client, signal)),
        signal,
        clock: this.#clock,
      })
      return (await this.#known(name)).instance
    } catch (error) {
      await this.#undo(name)
      signal.throwIfAborted()
      throw error
    }
  }

  /** The first error is the one to tell; what cannot be cleaned up keeps its record, so a collector finds it. */
  async #undo(name: string): Promise<void> {
    try {
      await this.destroy(name)
    } catch (error) {
      this.#log.error(
        { instance: name, error: String(error) },
        'an instance that failed to start is still there',
      )
    }
  }

  async #known(name: string): Promise<Known> {
    const found = await this.#ownership.read('instances', name)
    if (found === null) throw new TidegateError('unknown_instance', `there is no instance ${name} here`)
    const fields = found.record && readInstanceFields(found.record.fields)
    if (fields === null) {
      const why = found.record === null ? found.problem : 'its record is of another version'
      throw new TidegateError(
        'hypervisor_unreachable',
        `${name} cannot be told apart (${why}); see ${found.path}`,
      )
    }
    const mark = markOf(found.path)
    return {
      key: fields.process,
      mark,
      fields,
      instance: await heldInstance(found, mark),
      directory: found.path,
    }
  }

  async #client(directory: string, fields: InstanceFields): Promise<GuestClient> {
    const token = await readFile(join(directory, tokenFile), 'utf8').catch(error => {
      throw ioError(error, 'cannot read the guest token')
    })
    return new GuestClient({ socketPath: fields.socket }, token, this.#clock)
  }

  async #whyNoSnapshot(name: string, fields: InstanceFields, error: unknown): Promise<unknown> {
    if (!(error instanceof TidegateError) || error.code !== 'guest_unreachable') return error
    if (error.details.guest_code === 'no_hook') return noAgent(name)
    // It said something, so it lives.
    if (error.details.guest_code !== undefined) return error
    if (await this.#ends(name)) {
      return new TidegateError('instance_died', `${name} ended while its state was taken`, { cause: error })
    }
    return (await exists(fields.socket)) ? error : noAgent(name)
  }

  /** A dying process closes its sockets before it is gone, so its silence is heard first. */
  async #ends(name: string): Promise<boolean> {
    const deadlineMs = this.#clock.monotonic() + dyingMs
    for (;;) {
      const known = await this.#known(name).catch(() => null)
      if (known === null || known.instance.state === 'stopped') return true
      if (this.#clock.monotonic() >= deadlineMs) return false
      await this.#clock.sleep(pollMs)
    }
  }
}

async function giveBack(
  name: string,
  state: SavedState,
  client: GuestClient,
  signal: AbortSignal,
): Promise<void> {
  const { hooks } = await client.ping({ timeoutMs: identifyTimeoutMs, signal })
  if (!hooks.take_back) throw noAgent(name)
  const taken = await client.takeBack(state.shape, state.open(), { timeoutMs: stateTimeoutMs, signal })
  if (taken !== state.bytes) {
    throw new TidegateError('snapshot_failed', `${name} took ${taken} of ${state.bytes} bytes of its state`)
  }
}

/** In the environment of every process that the instance started, and of no other's. */
const markOf = (directory: string) => `${guestEnv.tokenFile}=${join(directory, tokenFile)}`

const notRunning = (name: string) => new TidegateError('instance_died', `${name} does not run`)

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    error => {
      if (isCode(error, 'ENOENT', 'ENOTDIR')) return false
      throw ioError(error, `cannot look at ${path}`)
    },
  )
}
