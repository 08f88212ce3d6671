/** What an instance is made of and what a clone may differ in, and the files that it starts with. */
import { constants } from 'node:fs'
import { chmod, copyFile, open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Resources } from '../../config/config.ts'
import type { CloneSpec } from '../driver.ts'
import { keepSmall } from '../log-file.ts'
import { requireSize } from '../vm/clone-size.ts'
import { requireSpace } from '../vm/disk.ts'
import { writeInitramfs } from './guest.ts'
import type { SnapshotFacts } from './record.ts'
import type { CloudHypervisorTemplate } from './template.ts'
import { diskFile, files, type Machine, machineDisks, memoryStepBytes, pageBytes } from './vm-config.ts'

/** A console longer than this is cut. */
const serialBytesMax = 1024 * 1024

const whole = (bytes: number): number => Math.ceil(bytes / pageBytes) * pageBytes
const count = (cpus: number): number => Math.max(1, Math.ceil(cpus))

export function machineOf(resources: Resources, template: CloudHypervisorTemplate): Machine {
  const memoryBytes = whole(resources.memoryBytes)
  const more = (template.memoryMaxBytes ?? memoryBytes) - memoryBytes
  const cpus = count(resources.cpus)
  return {
    cpus,
    cpusMax: Math.max(cpus, template.cpusMax ?? cpus),
    memoryBytes,
    memoryExtraBytes: Math.max(0, Math.floor(more / memoryStepBytes) * memoryStepBytes),
    memoryBacking: template.memoryBacking,
    disks: machineDisks(template.disks),
  }
}

/** Throws `template_invalid` when the clone is to be another machine than its snapshot was, as made or as resized. */
export function requireSame(spec: CloneSpec, { machine, resized, guest }: SnapshotFacts): void {
  const wanted = { cpus: count(spec.resources.cpus), memoryBytes: whole(spec.resources.memoryBytes) }
  requireSize(spec, wanted, { made: machine, had: resized ?? machine, port: guest.app })
}

/** The files of a cold boot: an empty memory, the initial file system with the instance's environment, its own disks. */
export async function prepareFiles(
  directory: string,
  machine: Machine,
  template: CloudHypervisorTemplate,
): Promise<void> {
  const { memoryBytes, memoryBacking } = machine
  let bytes = (await stat(template.initrd)).size
  if (memoryBacking === 'file') bytes += memoryBytes
  for (const { path, readonly } of template.disks) bytes += readonly ? 0 : (await stat(path)).size
  await requireSpace(directory, bytes, 'the memory and disks of a VM')
  await writeInitramfs(template.initrd, directory)
  if (memoryBacking === 'file') {
    const ram = await open(join(directory, files.ram), 'wx', 0o600)
    await ram.truncate(memoryBytes).finally(() => ram.close())
  }
  for (const [index, { path, readonly }] of template.disks.entries()) {
    if (readonly) continue
    const copy = join(directory, diskFile(index))
    await copyFile(path, copy, constants.COPYFILE_FICLONE)
    await chmod(copy, 0o600)
  }
}

/** The hypervisor writes on at its own offset. */
export const keepSerialSmall = (directory: string): Promise<void> =>
  keepSmall(join(directory, files.serial), serialBytesMax, 'at an offset')
