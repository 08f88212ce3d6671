/**
 * The firecracker driver: microVMs on this machine, cloned copy-on-write. It puts the parts of this folder in order and keeps
 * the records; how a microVM is told, saved and asked is theirs. A failed create, clone or snapshot leaves nothing behind.
 * Versions are looked at before anything is started: a Firecracker that cannot load a snapshot ends in the attempt.
 */
import { link, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../clock.ts'
import type { NodeConfig, Resources } from '../../config/config.ts'
import { TidegateError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import type {
  CloneSpec,
  Diagnosis,
  Driver,
  HeldInstance,
  Identity,
  IdentityAck,
  InstanceSpec,
  ResizeReport,
  SnapshotReport,
  SnapshotRequest,
} from '../driver.ts'
import type { CallLimits } from '../http-unix/client.ts'
import { keepSmall } from '../log-file.ts'
import { openNamespaces } from '../network/namespace.ts'
import { hostPort, type Network } from '../network/network.ts'
import { asIoError, ioError, Ownership, unknownInstance } from '../ownership.ts'
import type { ProcessKey } from '../proc.ts'
import { agentReady } from '../vm/agent-ready.ts'
import { allocatedBytes } from '../vm/disk.ts'
import { guestClient, guestPorts, identifyGuest, writeGuestEnvironment } from '../vm/guest.ts'
import { livingVm, recordOf } from '../vm/held.ts'
import { requireMemory } from '../vm/image.ts'
import { changeTold } from '../vm/limits.ts'
import { memoryDeadlineMs } from '../vm/memory-deadline.ts'
import { killVmm } from '../vm/process.ts'
import { processFields } from '../vm/record.ts'
import { FirecrackerApi } from './api.ts'
import { binaryFacts, hostFacts } from './binary.ts'
import { bootCalls, files, loadCall, machineOf, metadataCall, stateCall, type Tap } from './calls.ts'
import { checkFirecracker, located, requireImage } from './check.ts'
import { giveDisk } from './disk.ts'
import { identifyLimits, readMetadata } from './guest.ts'
import { heldInstance, heldSnapshot } from './held.ts'
import {
  hostFields,
  type InstanceFacts,
  instanceFacts,
  machineFields,
  networkFields,
  type Shared,
  sharedFields,
} from './record.ts'
import { planResize, resizeVm } from './resize.ts'
import { memoryBytesOf, pauseVm, resumeVm, saveVm } from './save.ts'
import { requireSnapshot } from './snapshots.ts'
import { sumFiles, verifySnapshot } from './sums.ts'
import { type FirecrackerOptions, parseOptions, parseTemplate } from './template.ts'
import { type BinaryFacts, type HostFacts, readsFormat } from './versions.ts'
import { endVmm, explain, startVmm } from './vmm.ts'

const callTimeoutMs = 10_000
/** The kernel of the guest and its first file system are read within. */
const bootCallTimeoutMs = 60_000
const logBytesMax = 16 * 1024 * 1024

export interface FirecrackerDeps {
  readonly clock: Clock
  readonly log: Log
  /** Where TAP devices come from; a network namespace for each instance when it is left out. */
  readonly network?: Network
}

export function createFirecrackerDriver(node: NodeConfig, deps: FirecrackerDeps): Driver {
  return new FirecrackerDriver(node, deps)
}

/** What a snapshot is held against. */
interface Here {
  readonly binary: BinaryFacts
  readonly host: HostFacts
}

interface Built {
  readonly directory: string
  readonly api: FirecrackerApi
  readonly tap: Tap
}

class FirecrackerDriver implements Driver {
  readonly kind = 'firecracker'
  readonly can = { resize: ['memory'], snapshotWhileRunning: false, pause: true, sized: true } as const
  readonly #directory: string
  readonly #options: FirecrackerOptions
  readonly #ownership: Ownership
  readonly #network: Network
  readonly #clock: Clock
  readonly #log: Log

  constructor(node: NodeConfig, deps: FirecrackerDeps) {
    this.#directory = node.directory
    this.#options = parseOptions(node.options)
    this.#ownership = new Ownership(node.directory, deps.clock)
    this.#network = deps.network ?? openNamespaces(this.#options.networkPool)
    this.#clock = deps.clock
    this.#log = deps.log.child({ driver: 'firecracker', node: node.id })
  }

  check(template: Readonly<Record<string, unknown>> | null): Promise<readonly Diagnosis[]> {
    const directory = this.#directory
    return checkFirecracker({ options: this.#options, directory, network: this.#network, template })
  }

  async create(spec: InstanceSpec, signal: AbortSignal): Promise<HeldInstance> {
    this.#ownership.path('instances', spec.name)
    const template = located(parseTemplate(spec.template))
    const machine = machineOf(spec.resources, template)
    const binary = await binaryFacts(this.#options.binary)
    requireMemory(spec.resources.memoryBytes, await requireImage(template, binary.version))
    signal.throwIfAborted()
    const { sparseSnapshots, outbound, rootfs } = template
    const guest = guestPorts(spec.port)
    const sharedDisk = machine.disk === 'shared' ? rootfs : null
    const facts: Shared = { machine, guest, sparseSnapshots, sharedDisk, outbound, binary }
    const prepare = async (directory: string) => {
      await writeGuestEnvironment(directory, spec.name, guest, template.env)
      await giveDisk(directory, machine, rootfs, signal)
    }
    return this.#make(spec, facts, null, signal, prepare, async ({ directory, api, tap }) => {
      const metadata = await readMetadata(directory, spec.name, guest)
      for (const call of bootCalls({ ...template, machine, tap, metadata })) {
        await api.send(call, { timeoutMs: bootCallTimeoutMs, signal })
      }
      const { agent, process } = await this.#living(spec.name)
      const booted = { ...{ name: 'Firecracker', directory, logs: [files.log] }, agent, process }
      await agentReady(booted, this.#clock, { timeoutMs: this.#options.bootTimeoutMs, signal })
    })
  }

  async snapshot(request: SnapshotRequest, signal: AbortSignal): Promise<SnapshotReport> {
    const { name, owner, source, keep = false } = request
    signal.throwIfAborted()
    const sourcePath = this.#ownership.path('instances', source)
    const facts = await this.#living(source)
    const here = await this.#here()
    if (!readsFormat(here.binary.format, facts.binary.format)) throw outgrown(source, facts, here)
    const fields = { ...sharedFields(facts), ...hostFields(here.host), source, complete: false }
    const target = await this.#ownership.claim('snapshots', name, owner, fields)
    try {
      const pausedMs = await saveVm({ source: sourcePath, target, facts, signal }, this.#clock)
      const sizes = [files.memory, files.state].map(file => allocatedBytes(join(target, file)))
      const bytes = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
      const checksums = await sumFiles(target, facts.machine, keep, signal)
      const record = await this.#ownership.update('snapshots', name, { complete: true, bytes, checksums })
      this.#log.info({ snapshot: name, source, paused_ms: pausedMs, bytes }, 'snapshot taken')
      return { snapshot: await heldSnapshot({ name, path: target, record }), pausedMs }
    } catch (error) {
      await this.#discardSnapshot(name)
      signal.throwIfAborted()
      throw snapshotFailure(await explain(error, sourcePath, facts.process, this.#clock), source)
    }
  }

  async clone(spec: CloneSpec, signal: AbortSignal): Promise<HeldInstance> {
    this.#ownership.path('instances', spec.name)
    signal.throwIfAborted()
    const here = await this.#here()
    const found = await this.#ownership.read('snapshots', spec.snapshot)
    const { path, facts } = requireSnapshot(found, spec, here)
    const { machine, guest, sharedDisk } = facts
    await verifySnapshot({ name: spec.snapshot, path }, machine, facts.checksums, signal)
    const prepare = async (directory: string) => {
      for (const file of [files.memory, files.state, files.env]) {
        await link(join(path, file), join(directory, file))
      }
      await giveDisk(directory, machine, sharedDisk ?? join(path, files.disk), signal)
    }
    const shared: Shared = { ...facts, binary: here.binary }
    return this.#make(spec, shared, spec.snapshot, signal, prepare, async ({ directory, api, tap }) => {
      const timeoutMs = memoryDeadlineMs(memoryBytesOf(facts))
      await this.#load(api, directory, tap, { timeoutMs, signal })
      const limits = { timeoutMs: callTimeoutMs, signal }
      await api.send(metadataCall(await readMetadata(directory, spec.name, guest)), limits)
      await api.send(stateCall('Resumed'), limits)
      // Firecracker holds the memory by its mapping: without these names it is freed when the last clone ends.
      for (const file of [files.memory, files.state]) await rm(join(directory, file), { force: true })
    })
  }

  async identify(name: string, identity: Identity, signal: AbortSignal): Promise<IdentityAck> {
    const directory = this.#ownership.path('instances', name)
    const { agent } = await this.#living(name)
    const client = await guestClient(directory, agent, this.#clock)
    const alive = () => this.#living(name)
    const { warnings, ...ack } = await identifyGuest(client, identity, alive, identifyLimits, signal)
    if (warnings.length > 0) this.#log.warn({ instance: name, warnings }, 'identified')
    return ack
  }

  async resize(name: string, resources: Resources, signal: AbortSignal): Promise<ResizeReport> {
    signal.throwIfAborted()
    const directory = this.#ownership.path('instances', name)
    const facts = await this.#living(name)
    planResize(facts.machine, resources)
    const api = new FirecrackerApi(directory, this.#clock)
    try {
      const from = { ...resources, memoryBytes: facts.machine.memoryMib * mib }
      const client = await guestClient(directory, facts.agent, this.#clock)
      const told = await changeTold(client, from, resources, () =>
        resizeVm(api, facts.machine, resources, signal, this.#clock),
      )
      const { result: machine, application, warnings } = told
      if (warnings.length > 0) this.#log.warn({ instance: name, warnings }, 'resized')
      const record = await this.#ownership.update('instances', name, machineFields(machine))
      const instance = await heldInstance({ name, path: directory, record }, this.#clock)
      return { instance, resources: { ...resources, memoryBytes: machine.memoryMib * mib }, application }
    } catch (error) {
      signal.throwIfAborted()
      throw await explain(error, directory, facts.process, this.#clock)
    }
  }

  async pause(name: string): Promise<void> {
    const directory = this.#ownership.path('instances', name)
    const facts = await this.#living(name)
    try {
      await pauseVm(directory, this.#clock)
    } catch (error) {
      throw await explain(error, directory, facts.process, this.#clock)
    }
  }

  async resume(name: string): Promise<void> {
    const directory = this.#ownership.path('instances', name)
    const facts = await this.#living(name)
    try {
      await resumeVm(directory, facts, this.#clock)
    } catch (error) {
      throw await explain(error, directory, facts.process, this.#clock)
    }
  }

  async stop(name: string, graceMs: number): Promise<void> {
    const found = await this.#ownership.read('instances', name)
    if (found === null) return
    await endVmm(found.path, instanceFacts(recordOf(found)).process, graceMs, this.#clock)
  }

  async destroy(name: string): Promise<void> {
    const kind = await this.#ownership.kindOf(name)
    if (kind === null) return
    const found = await this.#ownership.read(kind, name)
    if (found === null) return
    const record = recordOf(found)
    if (kind === 'instances') await this.#end(found.path, instanceFacts(record).process)
    await this.#ownership.remove(kind, name)
  }

  async inspect() {
    const [instances, snapshots] = await Promise.all([
      this.#ownership.list('instances'),
      this.#ownership.list('snapshots'),
    ])
    for (const { path } of instances) await keepSmall(join(path, files.log), logBytesMax, 'appended')
    // What a crash left of instances that are gone. It is tried again at the next look.
    await this.#network.sweep(this.#directory).catch(error => {
      this.#log.warn({ error: String(error) }, 'networks of gone instances could not be removed')
    })
    return {
      instances: await Promise.all(instances.map(found => heldInstance(found, this.#clock))),
      snapshots: await Promise.all(snapshots.map(heldSnapshot)),
    }
  }

  /** Claims the name, starts Firecracker in a network of its own, lets `build` make it a VM; removes everything when that fails. */
  async #make(
    spec: InstanceSpec,
    facts: Shared,
    snapshot: string | null,
    signal: AbortSignal,
    prepare: (directory: string) => Promise<void>,
    build: (built: Built) => Promise<void>,
  ): Promise<HeldInstance> {
    const { name, owner } = spec
    const fields = { ...sharedFields(facts), snapshot }
    const directory = await this.#ownership.claim('instances', name, owner, fields)
    let process: ProcessKey | null = null
    try {
      await prepare(directory)
      const { enter, tap } = await this.#attach(name, directory, facts, signal)
      const started = async (key: ProcessKey) => {
        process = key
        await this.#ownership.update('instances', name, processFields(key))
      }
      const { binary } = this.#options
      const request = { name, directory, binary, version: facts.binary.version, enter, signal, started }
      await build({ directory, api: await startVmm(request, this.#clock), tap })
      const found = await this.#ownership.read('instances', name)
      if (found === null) throw unknownInstance(name)
      return await heldInstance(found, this.#clock)
    } catch (error) {
      const explained = await explain(error, directory, process, this.#clock)
      await this.#discard(name, directory, process)
      signal.throwIfAborted()
      throw explained instanceof TidegateError ? explained : asIoError(explained, `cannot make ${name}`)
    }
  }

  async #attach(name: string, directory: string, facts: Shared, signal: AbortSignal) {
    const { guest, outbound } = facts
    const ports = [guest.app, guest.agent]
    const attached = await this.#network.attach({ directory, ports, outbound }, signal)
    const { host, enter, tap } = attached
    if (tap === null) throw new TidegateError('network_unavailable', 'Firecracker needs a TAP device')
    const [app, agent] = ports.map(port => ({ host, port: hostPort(attached, port) }))
    await this.#ownership.update('instances', name, networkFields(app!, agent!))
    return { enter, tap }
  }

  async #load(api: FirecrackerApi, directory: string, tap: Tap, limits: CallLimits): Promise<void> {
    try {
      await api.send(loadCall(tap), limits)
    } catch (error) {
      // It says why and ends: what it said is the news, not its end.
      if (error instanceof TidegateError && error.code === 'hypervisor_failed') {
        throw new TidegateError('snapshot_failed', error.message, { cause: error })
      }
      throw await explain(error, directory, null, this.#clock)
    }
  }

  async #here(): Promise<Here> {
    return { binary: await binaryFacts(this.#options.binary), host: hostFacts() }
  }

  #living(name: string): Promise<InstanceFacts & { process: ProcessKey }> {
    return livingVm(this.#ownership, name, instanceFacts)
  }

  async #end(directory: string, key: ProcessKey | null): Promise<void> {
    await killVmm(directory, key, this.#clock)
    // Whatever else carries the directory's mark, as a process that died before its id was written down.
    await killVmm(directory, null, this.#clock)
    await this.#network.detach(directory)
  }

  async #discard(name: string, directory: string, key: ProcessKey | null): Promise<void> {
    try {
      await this.#end(directory, key)
      await this.#ownership.remove('instances', name)
    } catch (error) {
      // It stays claimed by its record, and whoever collects orphans tries again.
      this.#log.error({ name, error: String(error) }, 'what is left of a failed act could not be removed')
    }
  }

  async #discardSnapshot(name: string): Promise<void> {
    await this.#ownership.remove('snapshots', name).catch(error => {
      this.#log.error({ name, error: String(error) }, 'what is left of a snapshot could not be removed')
    })
  }
}

const mib = 1024 * 1024

/** The binary was upgraded under a VM that goes on with the old one. */
const outgrown = (source: string, facts: InstanceFacts, here: Here): TidegateError =>
  new TidegateError(
    'snapshot_failed',
    `${source} runs under Firecracker ${facts.binary.version}, whose snapshots the installed ` +
      `${here.binary.version} cannot read; replace it by an instance that boots under the new one`,
  )

function snapshotFailure(error: unknown, source: string): unknown {
  if (error instanceof TidegateError) {
    if (error.code !== 'hypervisor_failed') return error
    return new TidegateError('snapshot_failed', error.message, { cause: error })
  }
  return ioError(error, `cannot take a snapshot of ${source}`, 'snapshot_failed')
}
