/**
 * The API client against the double, and against the real program where it is on the PATH and network namespaces can be
 * had: the same answers of both, so the double is one. The VM need not come up for it; only its state matters.
 */
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../../lib/clock.ts'
import { guestEnv, guestLimits } from '../../../lib/guest/protocol.ts'
import { type CloudHypervisorApi, Refused } from '../../../lib/hypervisor/cloud-hypervisor/api.ts'
import { readEvents } from '../../../lib/hypervisor/cloud-hypervisor/events.ts'
import { machineOf, prepareFiles } from '../../../lib/hypervisor/cloud-hypervisor/plan.ts'
import { layOut } from '../../../lib/hypervisor/cloud-hypervisor/restore.ts'
import { parseTemplate } from '../../../lib/hypervisor/cloud-hypervisor/template.ts'
import { versionMin } from '../../../lib/hypervisor/cloud-hypervisor/version.ts'
import { coldConfig, files, type Machine } from '../../../lib/hypervisor/cloud-hypervisor/vm-config.ts'
import { endVmm, startVmm } from '../../../lib/hypervisor/cloud-hypervisor/vmm.ts'
import { openNamespaces } from '../../../lib/hypervisor/network/namespace.ts'
import type { Network } from '../../../lib/hypervisor/network/network.ts'
import { parsePool, poolDefault } from '../../../lib/hypervisor/network/plan.ts'
import { environmentFile } from '../../../lib/hypervisor/vm/environment.ts'
import { bootFiles } from '../../support/boot-files.ts'
import { doubleBinary, loopbackNetwork } from '../../support/cloud-hypervisor/binary.ts'
import { notHere } from '../../support/left-out.ts'
import { vmImage } from '../../support/vm-image.ts'
import { until } from '../../support/wait.ts'

const limits = { timeoutMs: 20_000 }
const MiB = 2 ** 20
const no = { code: 'hypervisor_failed' }

interface Subject {
  readonly binary: string
  readonly network: Network
  readonly kernel: string
  readonly initrd: string
}

async function subjects(): Promise<Record<string, Subject | string>> {
  const double = { binary: doubleBinary(t), network: loopbackNetwork, ...bootFiles() }
  const namespaces = openNamespaces(parsePool(poolDefault, 'pool'))
  if (spawnSync('cloud-hypervisor', ['--version']).status !== 0)
    return { double, real: 'it is not on the PATH' }
  const [check] = await namespaces.check()
  if (!existsSync('/dev/kvm') || check?.ok !== true)
    return { double, real: 'it takes KVM and network namespaces' }
  return { double, real: { binary: 'cloud-hypervisor', network: namespaces, ...(await vmImage()) } }
}

for (const [name, subject] of Object.entries(await subjects())) {
  if (typeof subject === 'string') notHere(t, `the real Cloud Hypervisor: ${subject}`)
  else t.test(name, t => conversation(t, subject))
}

/** A hypervisor with no VM yet, in a directory and a network of its own. */
async function started(t: Test, { binary, network }: Subject) {
  const directory = mkdtempSync(join(tmpdir(), 'ch-api-vm-'))
  chmodSync(directory, 0o700)
  const signal = AbortSignal.timeout(120_000)
  const link = await network.attach({ directory, ports: [8080, 7070], outbound: false }, signal)
  const request = { binary, directory, enter: link.enter, timeoutMs: 20_000, signal, started: async () => {} }
  const { api, version, key } = await startVmm(request, systemClock)
  t.teardown(async () => {
    await endVmm(directory, key, 0, systemClock)
    await network.detach(directory)
    rmSync(directory, { recursive: true, force: true })
  })
  const pong = await api.ping(limits)
  t.equal(pong.pid, key.pid, 'the process that we started answers')
  t.match(pong, { version: /^\d+\.\d+/, features: ['kvm'] })
  return { directory, link, api, version, key, signal }
}

async function conversation(t: Test, subject: Subject): Promise<void> {
  const { directory, link, api, version, key } = await started(t, subject)
  t.ok(version.major >= versionMin, `version ${version.text}`)
  await empty(t, api)
  const template = parseTemplate({
    kernel: subject.kernel,
    initrd: subject.initrd,
    cpus_max: 4,
    memory_max: '384MiB',
  })
  const machine = machineOf({ cpus: 1, memoryBytes: 128 * MiB, diskBytes: 0 }, template)
  // Without a token its application would end, and the machine with it, as soon as it has come up.
  const environment = environmentFile({ [guestEnv.token]: 't'.repeat(guestLimits.tokenBytesMin) })
  writeFileSync(join(directory, files.env), environment, { mode: 0o600 })
  await prepareFiles(directory, machine, template)
  const config = coldConfig(machine, template, { tap: link.tap!.name, mac: link.tap!.guestMac })
  await created(t, api, config)
  await api.boot(limits)
  await api.boot(limits)
  await running(t, api, directory)
  const saved = await snapshots(t, api, directory)
  if (saved === null) notHere(t, noSnapshots)
  else await restored(t, subject, saved, machine)
  await ended(t, api)
  const events = ['vmm starting', 'vm booting', 'vm booted', 'vm paused', 'vm resumed']
  await saidBy(t, directory, saved === null ? events : [...events, 'vm snapshotted'])
  await endVmm(directory, key, 10_000, systemClock)
  await t.rejects(
    api.ping(limits),
    { code: 'hypervisor_unreachable', silence: 'gone' },
    'it ended, as it was asked to',
  )
}

/** They are written beside the answers, not before them. */
async function saidBy(t: Test, directory: string, events: readonly string[]): Promise<void> {
  for (const event of events) {
    const told = async () => {
      const events = await readEvents(join(directory, files.events))
      return events.some(one => `${one.source} ${one.event}` === event)
    }
    t.ok(await until(`the event ${event}`, told), event)
  }
}

async function empty(t: Test, api: CloudHypervisorApi): Promise<void> {
  t.equal(await api.info(limits), null, 'there is no VM')
  const refused = { code: 'hypervisor_failed', answered: 500 }
  await t.rejects(api.pause(limits), refused, 'a wrong state is 500')
  await t.rejects(api.resume(limits), refused)
  await t.rejects(api.counters(limits), refused)
  await t.rejects(api.boot(limits), { code: 'hypervisor_failed', words: /config is missing/ })
  await api.delete(limits)
  await t.rejects(api.create({ cpus: 1 }, limits), { ...no, answered: 400 }, 'no configuration')
}

async function created(t: Test, api: CloudHypervisorApi, config: Record<string, unknown>): Promise<void> {
  await api.create(config, limits)
  t.match(await api.info(limits), { state: 'Created', memoryActualBytes: 128 * MiB })
  await t.rejects(
    api.create(config, limits),
    { ...no, answered: 500, words: /already created/ },
    'a second one',
  )
  await t.rejects(api.pause(limits), { ...no, answered: 500 }, 'what is not booted cannot be paused')
  await api.shutdown(limits)
  const disk = { id: 'more', path: '/dev/null', readonly: true }
  t.equal(await api.add('disk', disk, limits), null, 'only noted before the boot (204)')
  t.equal(await api.removeDevice('more', 100, limits), true)
  await t.rejects(api.removeDevice('more', 100, limits), { ...no, words: /more/ })
}

async function running(t: Test, api: CloudHypervisorApi, directory: string): Promise<void> {
  t.match(await api.info(limits), { state: 'Running' })
  const counters = await api.counters(limits)
  t.type(counters.net0?.rx_bytes, 'number')
  for (const values of Object.values(counters)) {
    for (const value of Object.values(values)) t.ok(Number.isSafeInteger(value), 'no value that means none')
  }
  const path = join(directory, 'more.raw')
  writeFileSync(path, Buffer.alloc(MiB))
  const disk = { id: 'more', path, image_type: 'Raw' }
  t.match(await api.add('disk', disk, limits), { id: 'more', bdf: /^0000:/ }, 'where it is (200)')
  await t.rejects(api.add('disk', disk, limits), { ...no, words: /not unique/ }, 'a second of one id')
  await api.resizeDisk('more', 2 * MiB, limits)
  // Whether its guest, which need not have come up, lets go of it is not the hypervisor's to say.
  t.type(await api.removeDevice('more', 100, limits), 'boolean')
  const nic = { id: 'net1', tap: 'tgmore' }
  t.match(await api.add('net', nic, limits), { id: 'net1', bdf: /^0000:/ })
  await t.rejects(api.add('net', nic, limits), { ...no, words: /not unique/ })
  t.ok((await api.info(limits))?.devices.includes('net1'), 'among the devices')
  t.type(await api.removeDevice('net1', 100, limits), 'boolean')
  await t.rejects(api.add('device', { id: 'pci', path: '/nowhere' }, limits), { ...no, answered: 500 })
  await t.rejects(api.removeDevice('nothing', 100, limits), { ...no, words: /nothing/ })
  t.equal(await api.resize({ desired_vcpus: 2 }, limits), true)
  await t.rejects(api.resizeZone('mem0', 64 * MiB, limits), { ...no, words: /below boot size/ })
  await t.rejects(api.resizeZone('nothing', 256 * MiB, limits), { code: 'hypervisor_failed' })
  await api.resizeZone('mem0', 256 * MiB, limits)
  const zones = (await api.info(limits))?.config.memory as { zones: { hotplugged_size: number }[] }
  t.equal(zones.zones[0]?.hotplugged_size, 128 * MiB, 'noted, whether the guest follows or not')
}

const noSnapshots =
  'snapshots and restores of the real Cloud Hypervisor: the KVM here does not hand out the state of nested guests ' +
  '(vm.snapshot: GetNestedState), so this Cloud Hypervisor saves no VM here'

/** The snapshot's directory; null where the machine's KVM lets Cloud Hypervisor save nothing. */
async function snapshots(t: Test, api: CloudHypervisorApi, directory: string): Promise<string | null> {
  const target = join(directory, 'target')
  mkdirSync(target)
  await t.rejects(api.snapshot(target, limits), { ...no, words: /running/ }, 'of a running VM')
  await api.pause(limits)
  await api.pause(limits)
  t.match(await api.info(limits), { state: 'Paused' })
  await t.rejects(
    api.snapshot(join(directory, 'nowhere'), limits),
    { ...no, answered: 500 },
    'into no directory',
  )
  const taken = await api.snapshot(target, limits).then(
    () => true,
    error => {
      if (!(error instanceof Refused) || !error.words.includes('GetNestedState')) throw error
      return false
    },
  )
  if (taken) {
    const found = readdirSync(target)
    t.ok(found.includes(files.config) && found.includes(files.state), found.join(' '))
    await t.rejects(
      api.snapshot(target, limits),
      { ...no, words: /File exists|EEXIST/ },
      'into a used directory',
    )
    await t.rejects(
      api.restore({ source: target }, limits),
      { ...no, words: /already created/ },
      'where a VM is',
    )
    // Memory and environment are ours to save; the memory while nobody writes to it.
    copyFileSync(join(directory, files.ram), join(target, files.ram))
    linkSync(join(directory, files.env), join(target, files.env))
  }
  await api.resume(limits)
  await api.resume(limits)
  t.match(await api.info(limits), { state: 'Running' })
  return taken ? target : null
}

async function restored(t: Test, subject: Subject, snapshot: string, machine: Machine): Promise<void> {
  const { directory, link, api, key, signal } = await started(t, subject)
  await t.rejects(
    api.restore({ source: join(directory, 'nowhere') }, limits),
    { ...no, answered: 500 },
    'from no directory',
  )
  t.equal(await api.info(limits), null, 'a restore that failed leaves no VM')
  await layOut({ directory, snapshot, facts: { machine, memoryIsFile: true }, link, signal })
  const source = join(directory, files.saved)
  await api.restore({ source }, limits)
  const info = await api.info(limits)
  t.match(info, { state: 'Paused', config: { memory: { zones: [{ file: files.ram, shared: false }] } } })
  await t.rejects(api.restore({ source }, limits), { ...no, words: /already created/ }, 'a second one')
  await api.resume(limits)
  t.match(await api.info(limits), { state: 'Running' })
  await saidBy(t, directory, ['vm restoring', 'vm restored', 'vm resumed'])
  await api.delete(limits)
  t.equal(await api.info(limits), null, 'it is deleted while it runs')
  await endVmm(directory, key, 10_000, systemClock)
}

async function ended(t: Test, api: CloudHypervisorApi): Promise<void> {
  await api.shutdown(limits)
  await until('the VM is only configured', async () => (await api.info(limits))?.state === 'Created')
  await api.shutdown(limits)
  await api.delete(limits)
  await api.delete(limits)
  t.equal(await api.info(limits), null)
}
