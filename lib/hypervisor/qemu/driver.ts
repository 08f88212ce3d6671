/**
 * The qemu driver: VMs on this machine, cloned copy-on-write. It puts the parts of this folder in order and keeps the
 * records; how a VM is started, saved and asked is theirs. A failed create, clone or snapshot leaves nothing behind.
 */
import { link, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../clock.ts'
import type { NodeConfig, Resources } from '../../config/config.ts'
import { TidegateError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import { abortable } from '../abortable.ts'
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
import type { Network, NetworkKind } from '../network/network.ts'
import { openUserNetwork } from '../network/user.ts'
import { asIoError, ioError, Ownership, unknownInstance } from '../ownership.ts'
import { bootId, type ProcessKey } from '../proc.ts'
import { agentReady } from '../vm/agent-ready.ts'
import { requireSpace } from '../vm/disk.ts'
import { guestClient, guestPorts, identifyGuest, writeGuestEnvironment } from '../vm/guest.ts'
import { livingVm, recordOf } from '../vm/held.ts'
import { requireMemory } from '../vm/image.ts'
import { makerOf } from '../vm/maker.ts'
import { memoryDeadlineMs } from '../vm/memory-deadline.ts'
import { killVmm } from '../vm/process.ts'
import { askAbilities } from './abilities.ts'
import { chooseAccelerator, type Verdict } from './accelerator.ts'
import { checkQemu, located } from './check.ts'
import { cloneSource } from './clone-source.ts'
import { files, memoryFiles, type Start } from './command-line.ts'
import { imagesIn, linkImages, makeImage, readBase } from './disks.ts'
import { heldInstance, heldSnapshot } from './held.ts'
import { requireImage } from './image.ts'
import { launchVm } from './launch.ts'
import { machineFor, memoryOf } from './machine.ts'
import { loadState } from './migrate.ts'
import { type InstanceFacts, instanceFacts, machineFields } from './record.ts'
import { resizeInstance } from './resize.ts'
import { pauseVm, resumeVm, saveVm, snapshotBytes } from './snapshot.ts'
import { chooseSnapshot } from './snapshot-choice.ts'
import { sumFiles, verifySnapshot } from './sums.ts'
import { parseOptions, parseTemplate, type QemuOptions, type QemuTemplate } from './template.ts'
import { endVm, explain, inItsWords } from './vm.ts'

const commandTimeoutMs = 5_000
const identifyLimits = { tryTimeoutMs: 20_000, triesMax: 2 }

export interface QemuDeps {
  readonly clock: Clock
  readonly log: Log
}

export function createQemuDriver(node: NodeConfig, deps: QemuDeps): Driver {
  return new QemuDriver(node, deps)
}

class QemuDriver implements Driver {
  readonly kind = 'qemu'
  readonly can: Capabilities
  readonly #directory: string
  readonly #options: QemuOptions
  readonly #ownership: Ownership
  readonly #clock: Clock
  readonly #log: Log
  readonly #networks: Readonly<Record<NetworkKind, Network>>
  /** Trials of KVM under way, so that VMs made at the same time share one. */
  readonly #trials = new Map<string, Promise<Verdict>>()

  constructor(node: NodeConfig, deps: QemuDeps) {
    this.#directory = node.directory
    this.#options = parseOptions(node.options)
    this.#ownership = new Ownership(node.directory, deps.clock)
    this.#clock = deps.clock
    this.#log = deps.log.child({ driver: 'qemu', node: node.id })
    const resize = ['cpus', 'memory', 'disk'] as const
    const snapshotWhileRunning = this.#options.snapshot === 'background'
    this.can = { resize, snapshotWhileRunning, pause: true, sized: true }
    this.#networks = { user: openUserNetwork(), namespace: openNamespaces(this.#options.pool) }
  }

  check(template: Readonly<Record<string, unknown>> | null): Promise<readonly Diagnosis[]> {
    return checkQemu(this.#options, this.#directory, template, this.#clock)
  }

  async create(spec: InstanceSpec, signal: AbortSignal): Promise<HeldInstance> {
    this.#ownership.path('instances', spec.name)
    const template = located(parseTemplate(spec.template))
    const needBytes = await requireImage(template)
    const base = template.disk?.base ? await readBase(template.disk.base) : null
    requireMemory(spec.resources.memoryBytes, needBytes)
    await askAbilities(this.#options.binary)
    // Others may wait for the same trial: who gives up only stops waiting.
    const { accelerator } = await abortable(this.#accelerator(template), signal)
    const machine = machineFor(spec.resources, template, accelerator, base?.bytes ?? 0)
    const { memory } = await chooseSnapshot(template, this.#options, machine.memoryBytes)
    signal.throwIfAborted()
    const guest = guestPorts(spec.port)
    const network = template.network ?? this.#options.network
    const fields = { ...machineFields(machine, guest), memory, network }
    return this.#make(spec, fields, signal, async directory => {
      await requireSpace(directory, machine.memoryBytes, 'the memory of a VM')
      await writeGuestEnvironment(directory, spec.name, guest, template.env)
      const disk = machine.diskBytes && (await makeImage(directory, machine.diskBytes, base))
      const { kernel, initrd, append } = template
      const start: Start = { from: 'boot', kernel, initrd, append, memory, disk: disk || null }
      const qmp = await this.#launch(spec.name, directory, start, network, signal)
      try {
        const limits = { timeoutMs: this.#options.bootTimeoutMs, signal }
        const { agent, process } = await this.#living(spec.name)
        const booted = { ...{ name: 'QEMU', directory, logs: [files.stderr, files.serial] }, agent, process }
        await agentReady(booted, this.#clock, limits)
        // From here on the console is kept in a ring of bounded size.
        const backend = { type: 'ringbuf', data: { size: 65_536 } }
        await qmp.execute('chardev-change', { id: 'serial', backend }, { timeoutMs: commandTimeoutMs })
      } finally {
        qmp.close()
      }
    })
  }

  async snapshot(request: SnapshotRequest, signal: AbortSignal): Promise<SnapshotReport> {
    const { name, owner, source, keep = false } = request
    signal.throwIfAborted()
    const sourcePath = this.#ownership.path('instances', source)
    const facts = await this.#living(source)
    const boot = await bootId()
    const maker = await this.#maker()
    const fields = { ...machineFields(facts.machine, facts.guest), maker, source, complete: false, boot }
    const target = await this.#ownership.claim('snapshots', name, owner, fields)
    try {
      const { machine, memory } = facts
      const { binary } = this.#options
      const save = { source: sourcePath, target, name, binary, machine, memory, signal }
      const saved = await saveVm(save, this.#clock)
      const { pausedMs, method, disk } = saved
      const bytes = await snapshotBytes(target, saved.machine)
      const checksums = await sumFiles(target, saved.machine, keep, signal)
      const made = { ...machineFields(saved.machine, facts.guest), disk, checksums, method }
      const record = await this.#ownership.update('snapshots', name, { ...made, complete: true, bytes })
      this.#log.info({ snapshot: name, source, method, paused_ms: pausedMs, bytes }, 'snapshot taken')
      return { snapshot: await heldSnapshot({ name, path: target, record }), pausedMs, method }
    } catch (error) {
      await this.#discard('snapshots', name, target, null)
      signal.throwIfAborted()
      throw snapshotFailure(await explain(error, sourcePath, facts.process, this.#clock), source)
    }
  }

  async clone(spec: CloneSpec, signal: AbortSignal): Promise<HeldInstance> {
    signal.throwIfAborted()
    const template = parseTemplate(spec.template)
    const snapshot = await cloneSource(this.#ownership, spec)
    const { machine, guest, disk } = snapshot.facts
    await verifySnapshot(snapshot, await this.#maker(), signal)
    const network = template.network ?? this.#options.network
    const fields = { ...machineFields(machine, guest), memory: 'private', network, snapshot: spec.snapshot }
    const memory = memoryFiles(machine)
    return this.#make(spec, fields, signal, async directory => {
      for (const file of [...memory, files.state, files.env]) {
        await link(join(snapshot.path, file), join(directory, file))
      }
      await linkImages(snapshot.path, directory, await imagesIn(snapshot.path))
      const over =
        disk && (await makeImage(directory, machine.diskBytes ?? 0, { path: disk, format: 'qcow2' }))
      const qmp = await this.#launch(spec.name, directory, { from: 'clone', disk: over }, network, signal)
      try {
        const timeoutMs = memoryDeadlineMs(memoryOf(machine))
        await loadState(qmp, 'devices', { timeoutMs, signal }).catch(async error => {
          throw await inItsWords(error, directory)
        })
        await qmp.execute('cont', {}, { timeoutMs: commandTimeoutMs, signal })
      } finally {
        qmp.close()
      }
      // QEMU holds the memory by its mapping: without these names it is freed when the last clone ends.
      for (const file of [...memory, files.state]) await rm(join(directory, file), { force: true })
    })
  }

  async identify(name: string, identity: Identity, signal: AbortSignal): Promise<IdentityAck> {
    const directory = this.#ownership.path('instances', name)
    const facts = await this.#living(name)
    const client = await guestClient(directory, facts.agent, this.#clock)
    const alive = () => this.#living(name)
    const { warnings, ...ack } = await identifyGuest(client, identity, alive, identifyLimits, signal)
    if (warnings.length > 0) this.#log.warn({ instance: name, warnings }, 'identified')
    return ack
  }

  async resize(name: string, resources: Resources, signal: AbortSignal): Promise<ResizeReport> {
    signal.throwIfAborted()
    const directory = this.#ownership.path('instances', name)
    const facts = await this.#living(name)
    const client = await guestClient(directory, facts.agent, this.#clock)
    const { machine, memory, countedDiskBytes } = facts
    const site = { directory, machine, memory, countedDiskBytes, client, clock: this.#clock, signal }
    try {
      const { result, hasDisk, application, warnings } = await resizeInstance(name, site, resources)
      if (warnings.length > 0) this.#log.warn({ instance: name, warnings }, 'resized')
      if (hasDisk) await this.#ownership.update('instances', name, { disk_bytes: result.diskBytes })
      return { instance: await this.#held(name), resources: result, application }
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
      await resumeVm(directory, this.#clock)
    } catch (error) {
      throw await explain(error, directory, facts.process, this.#clock)
    }
  }

  async stop(name: string, graceMs: number): Promise<void> {
    const found = await this.#ownership.read('instances', name)
    if (found === null) return
    await endVm(found.path, instanceFacts(recordOf(found)).process, graceMs, this.#clock)
  }

  async destroy(name: string): Promise<void> {
    const kind = await this.#ownership.kindOf(name)
    if (kind === null) return
    const found = await this.#ownership.read(kind, name)
    if (found === null) return
    // A snapshot may have a VM too: the one that was turning a stream into files when its maker died.
    await endVm(
      found.path,
      kind === 'instances' ? instanceFacts(recordOf(found)).process : null,
      0,
      this.#clock,
    )
    if (kind === 'instances') await this.#networks.namespace.detach(found.path)
    await this.#ownership.remove(kind, name)
  }

  async inspect() {
    await this.#networks.namespace.sweep(this.#directory).catch(error => {
      this.#log.error({ error: String(error) }, 'network namespaces that nobody has could not be removed')
    })
    const [instances, snapshots] = await Promise.all([
      this.#ownership.list('instances'),
      this.#ownership.list('snapshots'),
    ])
    return {
      instances: await Promise.all(instances.map(found => heldInstance(found, this.#clock))),
      snapshots: await Promise.all(snapshots.map(heldSnapshot)),
    }
  }

  /** Claims the name, lets `build` bring the VM up in its directory, and removes everything again when that fails. */
  async #make(
    spec: InstanceSpec,
    fields: Record<string, unknown>,
    signal: AbortSignal,
    build: (directory: string) => Promise<void>,
  ): Promise<HeldInstance> {
    const counted = { counted_disk_bytes: spec.resources.diskBytes }
    const made = { ...fields, ...counted }
    const directory = await this.#ownership.claim('instances', spec.name, spec.owner, made)
    try {
      await build(directory)
      return await this.#held(spec.name)
    } catch (error) {
      const found = await this.#ownership.read('instances', spec.name).catch(() => null)
      const key = found?.record ? instanceFacts(found.record).process : null
      const explained = await explain(error, directory, key, this.#clock)
      await this.#discard('instances', spec.name, directory, key)
      signal.throwIfAborted()
      throw explained instanceof TidegateError ? explained : asIoError(explained, `cannot make ${spec.name}`)
    }
  }

  #launch(name: string, directory: string, start: Start, network: NetworkKind, signal: AbortSignal) {
    const { binary } = this.#options
    const common = { ownership: this.#ownership, clock: this.#clock, binary, signal }
    return launchVm({ ...common, name, directory, start, network: this.#networks[network] })
  }

  async #held(name: string): Promise<HeldInstance> {
    const found = await this.#ownership.read('instances', name)
    if (found === null) throw unknownInstance(name)
    return heldInstance(found, this.#clock)
  }

  /** What a state must be loaded by: the same QEMU, on the same CPU. */
  async #maker(): Promise<string> {
    const { version } = await askAbilities(this.#options.binary)
    return makerOf(`QEMU ${version}`)
  }

  async #accelerator(template: QemuTemplate): Promise<Verdict> {
    const { kernel } = template
    const choice = template.accelerator === 'auto' ? this.#options.accelerator : template.accelerator
    const { binary } = this.#options
    const key = `${choice} ${kernel}`
    const running = this.#trials.get(key)
    if (running) return running
    const trial = chooseAccelerator(choice, { binary, kernel, clock: this.#clock })
    this.#trials.set(key, trial)
    return trial.finally(() => this.#trials.delete(key))
  }

  #living(name: string): Promise<InstanceFacts & { process: ProcessKey }> {
    return livingVm(this.#ownership, name, instanceFacts)
  }

  async #discard(
    kind: 'instances' | 'snapshots',
    name: string,
    path: string,
    key: ProcessKey | null,
  ): Promise<void> {
    try {
      await endVm(path, key, 0, this.#clock)
      await killVmm(path, null, this.#clock)
      if (kind === 'instances') await this.#networks.namespace.detach(path)
      await this.#ownership.remove(kind, name)
    } catch (error) {
      // It stays claimed by its record, and whoever collects orphans tries again.
      this.#log.error({ name, error: String(error) }, 'what is left of a failed act could not be removed')
    }
  }
}

function snapshotFailure(error: unknown, source: string): unknown {
  if (error instanceof TidegateError) return error
  return ioError(error, `cannot take a snapshot of ${source}`, 'snapshot_failed')
}
