/**
 * QEMU's command line for the three ways we start it. @pure
 *
 *   boot     from kernel and initial file system, memory in a shared file
 *   clone    from a snapshot: its memory privately mapped (copy on write), devices from its state
 *   rebase   from a full stream into a shared file, never run: turns the stream into a snapshot
 *
 * All three make the same machine: a state is accepted only by a machine like the one that gave it. Files are named
 * relative to QEMU's working directory, the instance's own, so that no path needs QEMU's quoting or is too long for a socket.
 */
import type { MachineKind } from './template.ts'

export type Accelerator = 'kvm' | 'tcg'

/** What must be equal in a snapshot and its clones. */
export interface Machine {
  readonly kind: MachineKind
  readonly accelerator: Accelerator
  readonly cpus: number
  readonly memoryBytes: number
  readonly outbound: boolean
}

export type Start =
  | { readonly from: 'boot'; readonly kernel: string; readonly initrd: string; readonly append: string }
  | { readonly from: 'clone' }
  | { readonly from: 'rebase' }

/** A host port that leads to a guest port. */
export interface Forward {
  readonly hostPort: number
  readonly guestPort: number
}

/** Names inside an instance's or a snapshot's directory. */
export const files = {
  ram: 'ram',
  state: 'state',
  /** Environment of the guest, with the agent's token. */
  env: 'env',
  /** One monitor for the act in hand, one that can always be asked. */
  control: 'control.sock',
  watch: 'watch.sock',
  serial: 'serial.log',
  stderr: 'stderr.log',
  pid: 'qemu.pid',
} as const

const guestAddress = '10.0.2.15'

export function commandLine(
  name: string,
  machine: Machine,
  start: Start,
  forwards: readonly Forward[],
): readonly string[] {
  const share = start.from === 'clone' ? 'off' : 'on'
  const rules = forwards.map(f => `,hostfwd=tcp:127.0.0.1:${f.hostPort}-${guestAddress}:${f.guestPort}`)
  return [
    ...['-name', `${name},process=tidegate-vm`],
    ...['-machine', `${machine.kind},memory-backend=ram`],
    ...['-accel', machine.accelerator === 'tcg' ? 'tcg,thread=multi' : 'kvm'],
    ...['-cpu', machine.accelerator === 'tcg' ? 'qemu64,+rdrand,+rdseed' : 'host'],
    ...['-smp', String(machine.cpus)],
    ...['-m', `${machine.memoryBytes}B`],
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
    ...[
      '-object',
      `memory-backend-file,id=ram,size=${machine.memoryBytes},mem-path=${files.ram},share=${share}`,
    ],
    ...['-fw_cfg', `name=opt/tidegate/env,file=${files.env}`],
    ...['-chardev', serialBackend(start)],
    ...['-serial', 'chardev:serial'],
    ...['-netdev', `user,id=net,ipv6=off,restrict=${machine.outbound ? 'off' : 'on'}${rules.join('')}`],
    ...['-device', 'virtio-net-pci,netdev=net,romfile='],
    ...['-device', 'virtio-rng-pci'],
    ...['-device', 'vmgenid,guid=auto'],
    ...['-qmp', `unix:${files.control},server=on,wait=off`],
    ...['-qmp', `unix:${files.watch},server=on,wait=off`],
    ...['-pidfile', files.pid],
    ...startArguments(start),
  ]
}

/**
 * While a VM boots its console goes to a file, which outlives a VM that does not come up; the driver then changes it to
 * a ring in memory, which is bounded. A clone has the ring from its start.
 */
function serialBackend(start: Start): string {
  return start.from === 'boot' ? `file,id=serial,path=${files.serial}` : 'ringbuf,id=serial,size=65536'
}

function startArguments(start: Start): readonly string[] {
  if (start.from === 'boot') {
    const append = `console=ttyS0 quiet panic=-1 ${start.append}`.trim()
    return ['-kernel', start.kernel, '-initrd', start.initrd, '-append', append]
  }
  // A machine booted from a kernel has this loader in a memory block of its own, and its state names that block. The
  // kernel and the file system themselves are not needed any more, and would cost every clone their size in memory.
  return ['-option-rom', 'linuxboot_dma.bin', '-incoming', 'defer', '-S']
}

/** The guest's environment as lines that its shell reads. Values may hold anything but NUL. */
export function environmentFile(values: Readonly<Record<string, string>>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name}='${value.replaceAll("'", `'\\''`)}'\n`)
    .join('')
}
