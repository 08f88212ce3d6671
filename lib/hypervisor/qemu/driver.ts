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
import { freePorts } from '../network/ports.ts'
import { ioError, type OwnerRecord, Ownership } from '../ownership.ts'
import { bootId, type ProcessKey } from '../process/proc.ts'
import { chooseAccelerator, qemuVersion, type Verdict } from './accelerator.ts'
import { checkQemu, located, requireImage } from './check.ts'
import { type Accelerator, commandLine, files, type Machine, type Start } from './command-line.ts'
import { allocatedBytes, requireSpace } from './disk.ts'
import { guestClient, guestPorts, waitForAgent, writeGuestEnvironment } from './guest.ts'
import { heldInstance, heldSnapshot, processOf, recordOf } from './held.ts'
import { loadState } from './migrate.ts'
import type { Qmp } from './qmp.ts'
import { type InstanceFacts, instanceFacts, machineFields, processFields, snapshotFacts } from './record.ts'
import { pauseVm, resumeVm, saveVm } from './snapshot.ts'
import { type Maker, makerOf, sumFiles, verifySnapshot } from './sums.ts'
import { parseOptions, parseTemplate, type QemuOptions, type QemuTemplate } from './template.ts'
import { endVm, explain, findVm, killVm, startVm } from './vm.ts'

const startTimeoutMs = 20_000
const restoreTimeoutMs = 60_000
const commandTimeoutMs = 5_000
const identifyTimeoutMs = 20_000
const identifyAttemptsMax = 2
const portAttemptsMax = 5

export interface QemuDeps {
  readonly clock: Clock
  readonly log: Log
}

export function createQemuDriver(node: NodeConfig, deps: QemuDeps): Driver {
  return new QemuDriver(node, deps)
}

class QemuDriver implements Driver {
  readonly kind = 'qemu'
  readonly can = { resize: [], snapshotWhileRunning: false, pause: true } as const
  readonly #directory: string
  readonly #options: QemuOptions
  readonly #ownership: Ownership
  readonly #clock: Clock
  readonly #log: Log
  /** Trials of KVM under way, so that VMs made at the same time share one. */
  readonly #trials = new Map<string, Promise<Verdict>>()
  #version: Promise<string> | null = null

  constructor(node: NodeConfig, deps: QemuDeps) {
    this.#directory = node.directory
    this.#options = parseOptions(node.options)
    this.#ownership = new Ownership(node.directory, deps.clock)
    this.#clock = deps.clock
    this.#log = deps.log.child({ driver: 'qemu', node: node.id })
  }

  check(template: Readonly<Record<string, unknown>> | null): Promise<readonly Diagnosis[]> {
    return checkQemu(this.#options, this.#directory, template)
  }

  async create(spec: InstanceSpec, signal: AbortSignal): Promise<HeldInstance> {
    this.#ownership.path('instances', spec.name)
    const template = located(parseTemplate(spec.template))
    await requireImage(template)
    const machine = await this.#machine(spec, template)
    signal.throwIfAborted()
    const guest = guestPorts(spec.port)
    const fields = { ...machineFields(machine, guest), memory: 'shared' }
    return this.#make(spec, fields, signal, async directory => {
      await requireSpace(directory, machine.memoryBytes, 'the memory of a VM')
      await writeGuestEnvironment(directory, spec.name, guest, template.env)
      const start: Start = { from: 'boot', ...template }
      const qmp = await this.#start(spec.name, directory, start, signal)
      try {
        await this.#agentReady(spec.name, directory, signal)
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
    const maker = await this.#maker(facts.machine.accelerator)
    const fields = { ...machineFields(facts.machine, facts.guest), ...maker, source, complete: false, boot }
    const target = await this.#ownership.claim('snapshots', name, owner, fields)
    try {
      const { machine, memory } = facts
      const { binary } = this.#options
      const save = { source: sourcePath, target, name, binary, machine, memory, signal }
      const pausedMs = await saveVm(save, this.#clock)
      const bytes =
        (await allocatedBytes(join(target, files.ram))) + (await allocatedBytes(join(target, files.state)))
      const checksums = await sumFiles(target, keep, signal)
      const record = await this.#ownership.update('snapshots', name, { complete: true, bytes, checksums })
      this.#log.info({ snapshot: name, source, paused_ms: pausedMs, bytes }, 'snapshot taken')
      return { snapshot: await heldSnapshot({ name, path: target, record }), pausedMs }
    } catch (error) {
      await this.#discard('snapshots', name, target, null)
      signal.throwIfAborted()
      throw snapshotFailure(await explain(error, sourcePath, facts.process), source)
    }
  }

  async clone(spec: CloneSpec, signal: AbortSignal): Promise<HeldInstance> {
    signal.throwIfAborted()
    const snapshot = await this.#completeSnapshot(spec)
    const { machine, guest } = snapshotFacts(snapshot.record)
    await verifySnapshot(snapshot, await this.#maker(machine.accelerator), signal)
    const fields = { ...machineFields(machine, guest), memory: 'private', snapshot: spec.snapshot }
    return this.#make(spec, fields, signal, async directory => {
      for (const file of [files.ram, files.state, files.env]) {
        await link(join(snapshot.path, file), join(directory, file))
      }
      const qmp = await this.#start(spec.name, directory, { from: 'clone' }, signal)
      try {
        await loadState(qmp, 'devices', { timeoutMs: restoreTimeoutMs, signal })
        await qmp.execute('cont', {}, { timeoutMs: commandTimeoutMs, signal })
      } finally {
        qmp.close()
      }
      // QEMU holds the memory by its mapping: without these names it is freed when the last clone ends.
      for (const file of [files.ram, files.state]) await rm(join(directory, file), { force: true })
    })
  }

  async identify(name: string, identity: Identity, signal: AbortSignal): Promise<IdentityAck> {
    const directory = this.#ownership.path('instances', name)
    const facts = await this.#living(name)
    const client = await guestClient(directory, facts.agentPort ?? 0, this.#clock)
    for (let attempt = 1; ; attempt++) {
      try {
        const answer = await client.identify(identity, { timeoutMs: identifyTimeoutMs, signal })
        if (answer.warnings.length > 0)
          this.#log.warn({ instance: name, warnings: answer.warnings }, 'identified')
        const { instance_id: instanceId, incarnation, application } = answer
        return { instanceId, incarnation, application }
      } catch (error) {
        signal.throwIfAborted()
        await this.#living(name)
        const silent = error instanceof TidegateError && error.code === 'guest_unreachable'
        if (!silent || attempt >= identifyAttemptsMax) throw error
      }
    }
  }

  async resize(name: string, _resources: Resources, signal: AbortSignal): Promise<ResizeReport> {
    signal.throwIfAborted()
    await this.#living(name)
    throw new TidegateError(
      'resize_unsupported',
      `${name} keeps the resources it was made with; replace it by an instance with others`,
    )
  }

  async pause(name: string): Promise<void> {
    const directory = this.#ownership.path('instances', name)
    const facts = await this.#living(name)
    try {
      await pauseVm(directory, this.#clock)
    } catch (error) {
      throw await explain(error, directory, facts.process)
    }
  }

  async resume(name: string): Promise<void> {
    const directory = this.#ownership.path('instances', name)
    const facts = await this.#living(name)
    try {
      await resumeVm(directory, this.#clock)
    } catch (error) {
      throw await explain(error, directory, facts.process)
    }
  }

  async stop(name: string, graceMs: number): Promise<void> {
    const found = await this.#ownership.read('instances', name)
    if (found === null) return
    await endVm(found.path, processOf(found), graceMs, this.#clock)
  }

  async destroy(name: string): Promise<void> {
    const kind = await this.#ownership.kindOf(name)
    if (kind === null) return
    const found = await this.#ownership.read(kind, name)
    if (found === null) return
    // A snapshot may have a VM too: the one that was turning a stream into files when its maker died.
    await endVm(found.path, kind === 'instances' ? processOf(found) : null, 0, this.#clock)
    await this.#ownership.remove(kind, name)
  }

  async inspect() {
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
    const directory = await this.#ownership.claim('instances', spec.name, spec.owner, fields)
    try {
      await build(directory)
      const found = await this.#ownership.read('instances', spec.name)
      if (found === null) throw unknown(spec.name)
      return await heldInstance(found, this.#clock)
    } catch (error) {
      const found = await this.#ownership.read('instances', spec.name).catch(() => null)
      const key = found?.record ? instanceFacts(found.record).process : null
      const explained = await explain(error, directory, key)
      await this.#discard('instances', spec.name, directory, key)
      signal.throwIfAborted()
      throw explained instanceof TidegateError ? explained : asIoError(explained, `cannot make ${spec.name}`)
    }
  }

  /** Starts QEMU with free ports; when one is taken in between, with others. */
  async #start(name: string, directory: string, start: Start, signal: AbortSignal): Promise<Qmp> {
    const avoid = new Set<number>()
    for (let attempt = 1; ; attempt++) {
      const [appPort, agentPort] = (await freePorts(2, avoid)) as [number, number]
      const ports = { app_port: appPort, agent_port: agentPort }
      const record = await this.#ownership.update('instances', name, ports)
      const { machine, guest } = instanceFacts(record)
      const forwards = [
        { hostPort: appPort, guestPort: guest.app },
        { hostPort: agentPort, guestPort: guest.agent },
      ]
      const args = commandLine(name, machine, start, forwards)
      const started = async (key: ProcessKey) => {
        await this.#ownership.update('instances', name, processFields(key))
      }
      const { binary } = this.#options
      try {
        const request = { binary, directory, args, timeoutMs: startTimeoutMs, signal, started }
        return await startVm(request, this.#clock)
      } catch (error) {
        const taken = error instanceof TidegateError && error.code === 'port_in_use'
        if (!taken || attempt >= portAttemptsMax) throw error
        for (const port of [appPort, agentPort]) avoid.add(port)
      }
    }
  }

  async #agentReady(name: string, directory: string, signal: AbortSignal): Promise<void> {
    const facts = await this.#living(name)
    const client = await guestClient(directory, facts.agentPort ?? 0, this.#clock)
    const alive = async () => {
      if ((await findVm(directory, facts.process)) !== null) return
      throw await explain(new TidegateError('hypervisor_unreachable', 'QEMU ended'), directory, facts.process)
    }
    const limits = { timeoutMs: this.#options.bootTimeoutMs, signal }
    await waitForAgent(client, alive, this.#clock, limits)
  }

  async #machine(spec: InstanceSpec, template: QemuTemplate): Promise<Machine> {
    const { accelerator } = await this.#accelerator(template)
    const { cpus, memoryBytes } = spec.resources
    return {
      kind: template.machine,
      accelerator,
      cpus: Math.max(1, Math.ceil(cpus)),
      memoryBytes: Math.ceil(memoryBytes / pageBytes) * pageBytes,
      outbound: template.outbound,
    }
  }

  /** What a state must be loaded by: the same QEMU, on the same CPU where the guest sees it. Asked once. */
  #maker(accelerator: Accelerator): Promise<Maker> {
    this.#version ??= qemuVersion(this.#options.binary)
    this.#version.catch(() => {
      this.#version = null
    })
    return this.#version.then(version => makerOf(version, accelerator))
  }

  async #accelerator(template: QemuTemplate): Promise<Verdict> {
    const { kernel } = template
    const choice = template.accelerator === 'auto' ? this.#options.accelerator : template.accelerator
    const { binary } = this.#options
    const key = `${choice} ${kernel}`
    const running = this.#trials.get(key)
    if (running) return running
    const trial = chooseAccelerator(choice, { binary, kernel })
    this.#trials.set(key, trial)
    return trial.finally(() => this.#trials.delete(key))
  }

  /** The facts of an instance whose process lives. Throws `unknown_instance` or `instance_died`. */
  async #living(name: string): Promise<InstanceFacts & { process: ProcessKey }> {
    const found = await this.#ownership.read('instances', name)
    if (found === null) throw unknown(name)
    const facts = instanceFacts(recordOf(found))
    const process = await findVm(found.path, facts.process)
    if (process === null) throw new TidegateError('instance_died', `the VM ${name} does not run`)
    return { ...facts, process }
  }

  async #completeSnapshot(spec: CloneSpec): Promise<{ path: string; record: OwnerRecord }> {
    const found = await this.#ownership.read('snapshots', spec.snapshot)
    if (found === null) throw unknown(spec.snapshot)
    const held = await heldSnapshot(found)
    if (found.record === null || !held.complete) {
      throw new TidegateError(
        'snapshot_failed',
        `the snapshot ${spec.snapshot} is not complete; take another`,
      )
    }
    const { machine, guest } = snapshotFacts(found.record)
    const { cpus, memoryBytes } = spec.resources
    const sameMemory = Math.ceil(memoryBytes / pageBytes) * pageBytes === machine.memoryBytes
    if (!sameMemory || Math.max(1, Math.ceil(cpus)) !== machine.cpus || spec.port !== guest.app) {
      throw new TidegateError(
        'template_invalid',
        `a clone has the memory, CPUs and port of its snapshot ${spec.snapshot}; take a new snapshot of an instance with these`,
        { details: { memory_bytes: machine.memoryBytes, cpus: machine.cpus, port: guest.app } },
      )
    }
    return { path: found.path, record: found.record }
  }

  async #discard(
    kind: 'instances' | 'snapshots',
    name: string,
    path: string,
    key: ProcessKey | null,
  ): Promise<void> {
    try {
      await endVm(path, key, 0, this.#clock)
      await killVm(path, null, this.#clock)
      await this.#ownership.remove(kind, name)
    } catch (error) {
      // It stays claimed by its record, and whoever collects orphans tries again.
      this.#log.error({ name, error: String(error) }, 'what is left of a failed act could not be removed')
    }
  }
}

const pageBytes = 4096

const unknown = (name: string): TidegateError =>
  new TidegateError('unknown_instance', `there is no instance or snapshot ${name} here`, {
    details: { name },
  })

function snapshotFailure(error: unknown, source: string): unknown {
  if (error instanceof TidegateError) return error
  return ioError(error, `cannot take a snapshot of ${source}`, 'snapshot_failed')
}

/** A system error becomes a row of the table; an abort's own reason stays what it is. */
function asIoError(error: unknown, what: string): unknown {
  return error instanceof Error && 'syscall' in error ? ioError(error, what) : error
}
