/**
 * The environment that a guest boots with. Cloud Hypervisor has no
 * channel like QEMU's fw_cfg, so the environment comes as a second archive at the end of the initial file system, which
 * the kernel unpacks over the first (Linux Documentation/driver-api/early-userspace/buffer-format.rst). It holds the
 * agent's token: 0600, and on no command line. A clone has its source's, in the memory that was cloned.
 */
import { constants } from 'node:fs'
import { appendFile, chmod, copyFile, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { files } from './vm-config.ts'

/** Where the guest's first process finds it. */
export const environmentPath = 'tidegate/env'

/** The template's initial file system with this instance's environment in it. */
export async function writeInitramfs(template: string, directory: string): Promise<void> {
  const target = join(directory, files.initramfs)
  await copyFile(template, target, constants.COPYFILE_FICLONE)
  await chmod(target, 0o600)
  const { size } = await stat(target)
  const environment = await readFile(join(directory, files.env))
  await appendFile(target, Buffer.concat([padding(size), environmentArchive(environment)]))
}

const directoryMode = 0o040700
const fileMode = 0o100600

function environmentArchive(environment: Uint8Array): Buffer {
  const [parent = ''] = environmentPath.split('/')
  return Buffer.concat([
    ...record(parent, directoryMode, new Uint8Array(), 1),
    ...record(environmentPath, fileMode, environment, 2),
    ...record('TRAILER!!!', 0, new Uint8Array(), 0),
  ])
}

/** One entry of a cpio archive, format "newc". */
function record(path: string, mode: number, data: Uint8Array, inode: number): Uint8Array[] {
  const name = Buffer.from(`${path}\0`)
  const fields = [inode, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length, 0]
  const header = Buffer.from(`070701${fields.map(field => field.toString(16).padStart(8, '0')).join('')}`)
  return [header, name, padding(header.length + name.length), data, padding(data.length)]
}

/** Zero bytes up to the next multiple of four. */
const padding = (length: number): Uint8Array => new Uint8Array((4 - (length % 4)) % 4)
