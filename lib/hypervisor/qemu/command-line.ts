/**
 * QEMU's command line for the three ways we start it. @pure
 *
 *   boot     from kernel and initial file system, memory in a shared file
 *   clone    from a snapshot: its memory privately mapped (copy on write), devices from its state
 *   rebase   from a full stream into a shared file, never run: turns the stream into a snapshot
 *
 * All three make the same machine, what was plugged in while it ran included: a state is accepted only by a machine like the one that gave it. Files are named
 * relative to QEMU's working directory, the instance's own, so that no path needs QEMU's quoting or is too long for a socket.
 */
import { guestNet, type Link } from '../network/network.ts'
import { environmentName } from '../vm/environment.ts'
import { cpuId, dimmId, dimmSlots, type Machine } from './machine.ts'

export type Start =
  | {
      readonly from: 'boot'
      readonly kernel: string
      readonly initrd: string
      readonly append: string
      /** Whether the memory is a file from the start, or none until a snapshot streams it out. */
      readonly memory: 'shared' | 'anonymous'
      readonly disk: string | null
    }
  | { readonly from: 'clone'; readonly disk: string | null }
  | { readonly from: 'rebase' }

/** Names inside an instance's or a snapshot's directory. */
export const files = {
  ram: 'ram',
  state: 'state',
  /** Environment of the guest, with the agent's token. */
  env: environmentName,
  /** One monitor for the act in hand, one that can always be asked. */
  control: 'control.sock',
  watch: 'watch.sock',
  serial: 'serial.log',
  stderr: 'stderr.log',
  pid: 'qemu.pid',
} as const

/** The memory files of a machine: what it booted with, then one for each module that was added. */
export const memoryFiles = ({ added }: Pick<Machine, 'added'>): readonly string[] => [
  files.ram,
  ...added.dimmBytes.map((_, slot) => dimmId(slot)),
]

/** QEMU's name for the image that the guest writes to, as long as no snapshot put another on top. */
export const diskNode = 'disk'
export const diskDevice = 'disk0'
export const diskModel = 'virtio-blk-pci'

export function commandLine(
  name: string,
  machine: Machine,
  start: Start,
  link: Pick<Link, 'forwards' | 'tap'>,
): readonly string[] {
  return [
    ...['-name', `${name},process=tidegate-vm`],
    ...['-machine', `${machine.kind},memory-backend=ram`],
    ...['-accel', machine.accelerator === 'tcg' ? 'tcg,thread=multi' : 'kvm'],
    ...['-cpu', machine.accelerator === 'tcg' ? 'qemu64,+rdrand,+rdseed' : 'host'],
    ...['-smp', `${machine.cpus},maxcpus=${machine.cpusMax},sockets=1,cores=${machine.cpusMax},threads=1`],
    ...['-m', memorySize(machine)],
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
    ...['-object', memoryBackend(files.ram, machine.memoryBytes, start)],
    ...['-fw_cfg', `name=opt/tidegate/env,file=${files.env}`],
    ...['-chardev', serialBackend(start)],
    ...['-serial', 'chardev:serial'],
    ...netdevs(machine, link).flatMap(netdev => ['-netdev', netdev]),
    ...['-device', `virtio-net-pci,netdev=net,mac=${guestNet.mac},romfile=`],
    ...['-device', 'virtio-rng-pci'],
    ...['-device', 'vmgenid,guid=auto'],
    ...disk(machine, start),
    ...added(machine, start),
    ...['-qmp', `unix:${files.control},server=on,wait=off`],
    ...['-qmp', `unix:${files.watch},server=on,wait=off`],
    ...['-pidfile', files.pid],
    ...startArguments(machine, start),
  ]
}

/** Room for modules to be added takes address space and some tables of the guest: none where nothing may be added. */
function memorySize(machine: Machine): string {
  const { memoryBytes, memoryMaxBytes } = machine
  const size = `size=${memoryBytes}B`
  return memoryMaxBytes > memoryBytes ? `${size},slots=${dimmSlots},maxmem=${memoryMaxBytes}B` : size
}

function memoryBackend(name: string, bytes: number, start: Start): string {
  if (start.from === 'boot' && start.memory === 'anonymous') {
    return `memory-backend-ram,id=${name},size=${bytes}`
  }
  const share = start.from === 'clone' ? 'off' : 'on'
  return `memory-backend-file,id=${name},size=${bytes},mem-path=${name},share=${share}`
}

/**
 * A state saved on one kind of network must load on the other, and in the VM that turns a stream into files. So a TAP does
 * without the header by which it offers to compute checksums and cut segments, which QEMU's own network has not; and QEMU's
 * own network is there beside the TAP, connected to nothing, because it has a part of its own in every state.
 */
function netdevs(machine: Machine, link: Pick<Link, 'forwards' | 'tap'>): readonly string[] {
  if (link.tap !== null) {
    const tap = `tap,id=net,ifname=${link.tap.name},script=no,downscript=no,vnet_hdr=off`
    return [tap, 'user,id=idle,ipv6=off,restrict=on']
  }
  const rules = link.forwards.map(
    ({ hostPort, guestPort }) => `,hostfwd=tcp:127.0.0.1:${hostPort}-${guestNet.address}:${guestPort}`,
  )
  return [`user,id=net,ipv6=off,restrict=${machine.outbound ? 'off' : 'on'}${rules.join('')}`]
}

/** A machine that is never run needs a disk of the right size and nothing on it. */
function disk({ diskBytes }: Machine, start: Start): readonly string[] {
  if (diskBytes === null) return []
  const image = start.from === 'rebase' ? null : start.disk
  const nothing = { driver: 'null-co', 'node-name': diskNode, size: diskBytes, 'read-zeroes': true }
  const node = JSON.stringify(image === null ? nothing : blockNode(diskNode, image))
  return ['-blockdev', node, '-device', `${diskModel},drive=${diskNode},id=${diskDevice}`]
}

/**
 * An image and, by what its header says, all under it. Written without waiting for the disk: an instance lives no longer
 * than the machine's uptime, because its memory does not.
 */
export const blockNode = (node: string, image: string) => ({
  driver: 'qcow2',
  'node-name': node,
  cache: { 'no-flush': true },
  discard: 'unmap',
  file: { driver: 'file', filename: image },
})

function added(machine: Machine, start: Start): readonly string[] {
  const { added, cpus, accelerator } = machine
  const model = cpuModel(accelerator)
  return [
    ...Array.from({ length: added.cpus }, (_, i) => cpus + i).flatMap(core => [
      '-device',
      `${model},id=${cpuId(core)},socket-id=0,core-id=${core},thread-id=0`,
    ]),
    ...added.dimmBytes.flatMap((bytes, slot) => [
      ...['-object', memoryBackend(dimmId(slot), bytes, start)],
      ...['-device', `pc-dimm,id=${dimmDevice(slot)},memdev=${dimmId(slot)},slot=${slot}`],
    ]),
  ]
}

export const dimmDevice = (slot: number): string => `${dimmId(slot)}-module`
export const cpuModel = (accelerator: Machine['accelerator']): string =>
  accelerator === 'tcg' ? 'qemu64-x86_64-cpu' : 'host-x86_64-cpu'

/**
 * While a VM boots its console goes to a file, which outlives a VM that does not come up; the driver then changes it to
 * a ring in memory, which is bounded. A clone has the ring from its start.
 */
function serialBackend(start: Start): string {
  return start.from === 'boot' ? `file,id=serial,path=${files.serial}` : 'ringbuf,id=serial,size=65536'
}

/**
 * Under emulation Linux takes the processors' clocks for unsteady and asks a device for the time, which is a way out of the
 * machine each time; but they are the host's one clock. And what an emulated processor does not guess needs no guarding.
 */
const emulated = ({ accelerator }: Machine): string =>
  accelerator === 'tcg' ? ' tsc=reliable mitigations=off' : ''

function startArguments(machine: Machine, start: Start): readonly string[] {
  if (start.from === 'boot') {
    const ours = `console=ttyS0 quiet panic=-1 memhp_default_state=online_movable${emulated(machine)}`
    return ['-kernel', start.kernel, '-initrd', start.initrd, '-append', `${ours} ${start.append}`.trim()]
  }
  // A machine booted from a kernel has this loader in a memory block of its own, and its state names that block. The
  // kernel and the file system themselves are not needed any more, and would cost every clone their size in memory.
  return ['-option-rom', 'linuxboot_dma.bin', '-incoming', 'defer', '-S']
}
