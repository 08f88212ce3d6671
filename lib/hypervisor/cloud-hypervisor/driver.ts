/**
 * The cloud_hypervisor driver: VMs on this machine under KVM, cloned copy-on-write, resized while they run. It puts the
 * parts of this folder in order and keeps the records; how a VM is started, saved, restored and asked is theirs.
 * A failed create, clone or snapshot leaves nothing behind.
 */
import type { Clock } from '../../clock.ts'
import type { NodeConfig, Resources } from '../../config/config.ts'
import { TidegateError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import type {
  Capabilities,
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
import { openNamespaces } from '../network/namespace.ts'
import { hostPort, type Link, type Network } from '../network/network.ts'
import { asIoError, ioError, Ownership, unknownInstance } from '../ownership.ts'
import { bootId, type ProcessKey } from '../proc.ts'
import { guestClient, guestPorts, identifyGuest, writeGuestEnvironment } from '../vm/guest.ts'
import { livingVm, recordOf } from '../vm/held.ts'
import { requireMemory } from '../vm/image.ts'
import { changeTold } from '../vm/limits.ts'
import { makerOf } from '../vm/maker.ts'
import { memoryDeadlineMs } from '../vm/memory-deadline.ts'
import { killVmm } from '../vm/process.ts'
import { type Fields, type GuestPorts, processFields } from '../vm/record.ts'
import type { CloudHypervisorApi } from './api.ts'
import { guestUp } from './boot.ts'
import { binaryVersion } from './boot-trial.ts'
import { checkCloudHypervisor, located, requireBoot, requireImage } from './check.ts'
import { heldInstance, heldSnapshot } from './held.ts'
import { keepSerialSmall, machineOf, prepareFiles, requireSame } from './plan.ts'
import {
  addressFields,
  givenFields,
  type InstanceFacts,
  instanceFacts,
  machineFields,
  type SnapshotFacts,
  snapshotFacts,
} from './record.ts'
import { resizeVm } from './resize.ts'
import { layOut, restoreVm } from './restore.ts'
import { snapshotsDamaged } from './restore-mode.ts'
import { saveVm } from './snapshot.ts'
import { sumFiles, verifySnapshot } from './sums.ts'
import { type CloudHypervisorOptions, parseOptions, parseTemplate } from './template.ts'
import { parseVersion } from './version.ts'
import { coldConfig } from './vm-config.ts'
import { apiOf, decided, endVmm, explain, startVmm, type Vmm } from './vmm.ts'

const startTimeoutMs = 10_000
const commandTimeoutMs = 10_000
const bootTimeoutMs = 30_000
const identifyLimits = { tryTimeoutMs: 20_000, triesMax: 2 }

export interface CloudHypervisorDeps {
  readonly clock: Clock
  readonly log: Log
  /** Instead of namespaces of the system. */
  readonly network?: Network
}

export function createCloudHypervisorDriver(node: NodeConfig, deps: CloudHypervisorDeps): Driver {
  return new CloudHypervisorDriver(node, deps)
}

class CloudHypervisorDriver implements Driver {
  readonly kind = 'cloud_hypervisor'
  readonly can: Capabilities = {
    resize: ['cpus', 'memory', 'disk'],
    snapshotWhileRunning: false,
    pause: true,
    sized: true,
  }
  readonly #directory: string
  readonly #options: CloudHypervisorOptions
  readonly #ownership: Ownership
  readonly #network: Network
  readonly #clock: Clock
  readonly #log: Log
  #version: Promise<string> | null = null

  constructor(node: NodeConfig, deps: CloudHypervisorDeps) {
    this.#directory = node.directory
    this.#options = parseOptions(node.options)
    this.#ownership = new Ownership(node.directory, deps.clock)
    this.#network = deps.network ?? openNamespaces(this.#options.pool)
    this.#clock = deps.clock
    this.#log = deps.log.child({ driver: 'cloud_hypervisor', node: node.id })
  }

  check(template: Readonly<Record<string, unknown>> | null): Promise<readonly Diagnosis[]> {
    const place = { options: this.#options, directory: this.#directory, network: this.#network }
    return checkCloudHypervisor(place, template, this.#clock)
  }

  async create(spec: InstanceSpec, signal: AbortSignal): Promise<HeldInstance> {
    this.#ownership.path('instances', spec.name)
    signal.throwIfAborted()
    const template = located(parseTemplate(spec.template))
    const needBytes = await requireImage(template)
    requireMemory(spec.resources.memoryBytes, needBytes)
    await requireBoot({ ...this.#options, ...template, version: await this.#asked() }, this.#clock)
    signal.throwIfAborted()
    const machine = machineOf(spec.resources, template)
    const guest = guestPorts(spec.port)
    const memory = machine.memoryBacking === 'file' ? 'shared' : 'anonymous'
    const fields = { ...machineFields(machine, guest), memory }
    return this.#make(spec, fields, guest, signal, async (directory, link) => {
      await writeGuestEnvironment(directory, spec.name, guest, template.env)
      await prepareFiles(directory, machine, template)
      const vmm = await this.#start(spec.name, directory, link, signal)
      const limits = { timeoutMs: bootTimeoutMs, signal }
      const nic = { tap: link.tap?.name ?? '', mac: link.tap?.guestMac ?? null }
      const running = async () => (await vmm.api.info(limits))?.state === 'Running'
      await vmm.api.create(coldConfig(machine, template, nic), limits)
      await decided(vmm.api.boot(limits), running, limits)
      const { agent, process } = await this.#living(spec.name)
      const patience = { timeoutMs: this.#options.bootTimeoutMs, signal }
      await guestUp({ directory, agent, process }, this.#clock, patience)
      return {}
    })
  }

  async snapshot(request: SnapshotRequest, signal: AbortSignal): Promise<SnapshotReport> {
    const { name, owner, source, keep = false } = request
    signal.throwIfAborted()
    const sourcePath = this.#ownership.path('instances', source)
    const { machine, guest, memory, version, restored, resized, process } = await this.#living(source)
    if (restored !== null && snapshotsDamaged(restored, parseVersion(version))) throw damaged(source, version)
    const fields = {
      ...{ ...machineFields(machine, guest), source, complete: false, boot: await bootId() },
      maker: await this.#maker(),
      ...(resized === null ? {} : givenFields(resized)),
    }
    const target = await this.#ownership.claim('snapshots', name, owner, fields)
    try {
      const save = { source: sourcePath, target, machine, memory, signal }
      const { pausedMs, memoryIsFile, bytes } = await saveVm(save, this.#clock)
      const checksums = await sumFiles(target, keep, signal)
      const done = { complete: true, bytes, memory_is_file: memoryIsFile, checksums }
      const record = await this.#ownership.update('snapshots', name, done)
      this.#log.info({ snapshot: name, source, paused_ms: pausedMs, bytes }, 'snapshot taken')
      return { snapshot: await heldSnapshot({ name, path: target, record }), pausedMs }
    } catch (error) {
      await this.#ownership.remove('snapshots', name).catch(left => this.#leftOver(name, left))
      signal.throwIfAborted()
      const explained = await explain(error, sourcePath, process, this.#clock)
      if (explained instanceof TidegateError) throw explained
      throw ioError(explained, `cannot take a snapshot of ${source}`, 'snapshot_failed')
    }
  }

  async clone(spec: CloneSpec, signal: AbortSignal): Promise<HeldInstance> {
    signal.throwIfAborted()
    const { restore } = parseTemplate(spec.template)
    const { path: snapshot, facts } = await this.#completeSnapshot(spec)
    await verifySnapshot({ name: spec.snapshot, path: snapshot, facts }, await this.#maker(), signal)
    const memory = facts.memoryIsFile ? 'private' : 'anonymous'
    const fields = {
      ...{ ...machineFields(facts.machine, facts.guest), memory, snapshot: spec.snapshot },
      ...(facts.resized === null ? {} : givenFields(facts.resized)),
    }
    return this.#make(spec, fields, facts.guest, signal, async (directory, link) => {
      const request = { directory, snapshot, facts, link, signal }
      await layOut(request)
      const vmm = await this.#start(spec.name, directory, link, signal)
      const { mode, residentBytes, eager } = await restoreVm(vmm, request, restore)
      const said = { instance: spec.name, mode, resident_bytes: residentBytes }
      if (eager) this.#log.warn(said, 'the whole memory was read although it should be shared')
      else this.#log.info(said, 'restored')
      return { restored: mode }
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
    const { machine, process, agent, resized } = await this.#living(name)
    const request = { directory, machine, resources, signal }
    try {
      const { cpus, memoryBytes } = resized ?? machine
      const client = await guestClient(directory, agent, this.#clock)
      const told = await changeTold(client, { ...resources, cpus, memoryBytes }, resources, () =>
        resizeVm(apiOf(directory, this.#clock), request, this.#clock),
      )
      const { result: given, application, warnings } = told
      if (warnings.length > 0) this.#log.warn({ instance: name, warnings }, 'resized')
      const record = await this.#ownership.update('instances', name, givenFields(given))
      const instance = await heldInstance({ name, path: directory, record }, this.#clock)
      return { instance, resources: given, application }
    } catch (error) {
      signal.throwIfAborted()
      throw await explain(error, directory, process, this.#clock)
    }
  }

  pause(name: string): Promise<void> {
    return this.#tell(name, api => api.pause({ timeoutMs: commandTimeoutMs }))
  }

  /** With the deadline of a snapshot: it waits behind one that nobody waits for any more. */
  resume(name: string): Promise<void> {
    return this.#tell(name, (api, { machine }) =>
      api.resume({ timeoutMs: memoryDeadlineMs(machine.memoryBytes) }),
    )
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
    recordOf(found)
    if (kind === 'instances') await this.#endInstance(found.path, instanceFacts(recordOf(found)).process)
    await this.#ownership.remove(kind, name)
  }

  async inspect() {
    const [instances, snapshots] = await Promise.all([
      this.#ownership.list('instances'),
      this.#ownership.list('snapshots'),
    ])
    for (const { path } of instances) await keepSerialSmall(path)
    await this.#network.sweep(this.#directory).catch(error => this.#leftOver('networks', error))
    return {
      instances: await Promise.all(instances.map(found => heldInstance(found, this.#clock))),
      snapshots: await Promise.all(snapshots.map(heldSnapshot)),
    }
  }

  /**
   * Claims the name, makes its network, lets `build` bring the VM up in its directory, notes what that says, and removes
   * everything again when it fails.
   */
  async #make(
    spec: InstanceSpec,
    fields: Fields,
    guest: GuestPorts,
    signal: AbortSignal,
    build: (directory: string, link: Link) => Promise<Fields>,
  ): Promise<HeldInstance> {
    const { name, owner } = spec
    const directory = await this.#ownership.claim('instances', name, owner, fields)
    try {
      const ports = [guest.app, guest.agent]
      const link = await this.#network.attach({ directory, ports, outbound: false }, signal)
      const at = (port: number) => ({ host: link.host, port: hostPort(link, port) })
      await this.#ownership.update('instances', name, addressFields(at(guest.app), at(guest.agent)))
      const record = await this.#ownership.update('instances', name, await build(directory, link))
      return await heldInstance({ name, path: directory, record }, this.#clock)
    } catch (error) {
      const found = await this.#ownership.read('instances', name).catch(() => null)
      const key = found?.record ? instanceFacts(found.record).process : null
      const explained = await explain(error, directory, key, this.#clock)
      await this.#endInstance(directory, key)
        .then(() => this.#ownership.remove('instances', name))
        .catch(left => this.#leftOver(name, left))
      signal.throwIfAborted()
      throw explained instanceof TidegateError ? explained : asIoError(explained, `cannot make ${name}`)
    }
  }

  async #start(name: string, directory: string, link: Link, signal: AbortSignal): Promise<Vmm> {
    const started = async (key: ProcessKey) => {
      await this.#ownership.update('instances', name, processFields(key))
    }
    const { binary } = this.#options
    const request = { binary, directory, enter: link.enter, timeoutMs: startTimeoutMs, signal, started }
    const vmm = await startVmm(request, this.#clock)
    await this.#ownership.update('instances', name, { version: vmm.version.text })
    return vmm
  }

  async #tell(
    name: string,
    act: (api: CloudHypervisorApi, facts: InstanceFacts) => Promise<void>,
  ): Promise<void> {
    const directory = this.#ownership.path('instances', name)
    const facts = await this.#living(name)
    try {
      await act(apiOf(directory, this.#clock), facts)
    } catch (error) {
      throw await explain(error, directory, facts.process, this.#clock)
    }
  }

  #living(name: string): Promise<InstanceFacts & { process: ProcessKey }> {
    return livingVm(this.#ownership, name, instanceFacts)
  }

  /** What a state must be loaded by: the same Cloud Hypervisor on the same CPU. Asked once. */
  async #maker(): Promise<string> {
    return makerOf(await this.#asked())
  }

  /** Its version, as it says. */
  #asked(): Promise<string> {
    this.#version ??= binaryVersion(this.#options.binary)
    this.#version.catch(() => {
      this.#version = null
    })
    return this.#version
  }

  async #completeSnapshot(spec: CloneSpec): Promise<{ path: string; facts: SnapshotFacts }> {
    const found = await this.#ownership.read('snapshots', spec.snapshot)
    if (found === null) throw unknownInstance(spec.snapshot)
    const held = await heldSnapshot(found)
    if (found.record === null || !held.complete) {
      const message = `the snapshot ${spec.snapshot} is not complete; take another`
      throw new TidegateError('snapshot_failed', message)
    }
    const facts = snapshotFacts(found.record)
    requireSame(spec, facts)
    return { path: found.path, facts }
  }

  /** Its process, then its network. Its directory is left. */
  async #endInstance(path: string, key: ProcessKey | null): Promise<void> {
    await endVmm(path, key, 0, this.#clock)
    await killVmm(path, null, this.#clock)
    await this.#network.detach(path)
  }

  /** It stays claimed by its record, and whoever collects orphans tries again. */
  #leftOver(name: string, error: unknown): void {
    this.#log.error({ name, error: String(error) }, 'what is left could not be removed')
  }
}

const damaged = (source: string, version: string): TidegateError =>
  new TidegateError(
    'snapshot_failed',
    `${source} still reads its memory from its own snapshot, and Cloud Hypervisor ${version} would save it damaged; ` +
      'use restore: copy in the template, or a newer version',
  )
