/**
 * The files that a VM boots from, looked at before anything is started: are they there, is the kernel one for this processor in a
 * form that the hypervisor takes, and does what they unpack to fit into the memory. What none of this sees ends in a boot
 * that says nothing, a deadline later.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { TidegateError } from '../../errors.ts'

/** A packed kernel for x86, an unpacked one (ELF), and what other processors start. */
export type KernelFormat = 'bzImage' | 'vmlinux' | 'Image'

export interface BootFiles {
  readonly kernel: string
  readonly initrd: string | null
  /** Disks of the template, which only have to be there. */
  readonly disks?: readonly string[]
}

/** What a driver's hypervisor boots. */
export interface Bootable {
  readonly processor: string
  readonly formats: readonly KernelFormat[]
  /** The kernel to give, in people's words, and how an image is come by. */
  readonly wanted: string
  readonly remedy: string
}

interface Kernel {
  readonly format: KernelFormat
  readonly processor: string
}

interface Looked {
  readonly head: Buffer
  readonly bytes: number
}

const headBytes = 4096
/** What a kernel needs to come up at all, beside the file system and its unpacked copy. */
const kernelBytes = 32 * 1024 ** 2
const processors: Readonly<Record<string, string>> = { x64: 'x86-64', arm64: 'arm64' }
const formatNames: Readonly<Record<KernelFormat, string>> = {
  bzImage: 'a packed kernel (bzImage)',
  vmlinux: 'an unpacked kernel (vmlinux)',
  Image: 'a kernel image (Image)',
}

/** Of this machine, as it is written in messages. */
export const hostProcessor = (): string => processors[process.arch] ?? process.arch

/** Throws `image_missing` or `template_invalid`, naming the file and the fix. Returns the memory that a boot needs, bytes. */
export async function requireBootFiles(files: BootFiles, bootable: Bootable): Promise<number> {
  const kernel = await look(files.kernel, bootable.remedy)
  const initrd = files.initrd === null ? null : await look(files.initrd, bootable.remedy)
  for (const path of files.disks ?? []) await readable(path, 'it is a disk of the template')
  const fault = kernelFault(kernel.head, bootable)
  if (fault !== null) {
    throw new TidegateError(
      'template_invalid',
      `instance.template.kernel: ${files.kernel} is ${fault}; give ${bootable.wanted}`,
      { details: { field: 'instance.template.kernel', path: files.kernel } },
    )
  }
  return kernelBytes + (loadedBytes(kernel.head) ?? kernel.bytes) + 2 * (initrd?.bytes ?? 0)
}

/** Throws `template_invalid`. */
export function requireMemory(memoryBytes: number, needBytes: number): void {
  if (memoryBytes >= needBytes) return
  const mib = (bytes: number) => Math.ceil(bytes / 1024 ** 2)
  throw new TidegateError(
    'template_invalid',
    `instance.resources.memory: ${mib(memoryBytes)} MiB is too little for this image, which needs ${mib(needBytes)} MiB to boot`,
    { details: { field: 'instance.resources.memory', needed_bytes: needBytes } },
  )
}

/** What it is instead of a kernel as wanted, or null. */
export function kernelFault(head: Buffer, { processor, formats }: Omit<Bootable, 'wanted' | 'remedy'>) {
  const kernel = kernelOf(head)
  if (typeof kernel === 'string') return kernel
  if (kernel.processor !== processor) return `a kernel for ${kernel.processor}`
  return formats.includes(kernel.format) ? null : formatNames[kernel.format]
}

/** Numbers: Linux Documentation/arch/x86/boot.rst, arm64/booting.rst, riscv/boot-image-header.rst; ELF: elf(5). */
function kernelOf(head: Buffer): Kernel | string {
  const text = (from: number, to: number) => head.subarray(from, to).toString('latin1')
  if (text(0x202, 0x206) === 'HdrS') return { format: 'bzImage', processor: 'x86-64' }
  if (text(56, 60) === 'ARMd') return { format: 'Image', processor: 'arm64' }
  if (text(48, 52) === 'RISC') return { format: 'Image', processor: 'RISC-V' }
  if (text(0, 4) !== '\x7fELF' || head.length < elfHeaderBytes) return 'no Linux kernel'
  const processor = elfProcessors[head.readUInt16LE(18)]
  if (head[4] !== elf64 || processor === undefined) return 'a program for another processor'
  // No kernel names a program that is to load it.
  if (segments(head).some(({ type }) => type === interpreter)) return 'a program and no Linux kernel'
  return { format: 'vmlinux', processor }
}

const elfHeaderBytes = 64
const elf64 = 2
const elfProcessors: Readonly<Record<number, string>> = { 62: 'x86-64', 183: 'arm64', 243: 'RISC-V' }
const [loaded, interpreter] = [1, 3]

/** The segments of an ELF file whose table is near its start, as a linker puts it. */
function segments(head: Buffer): readonly { readonly type: number; readonly memoryBytes: number }[] {
  const at = Number(head.readBigUInt64LE(32))
  const [size, count] = [head.readUInt16LE(54), head.readUInt16LE(56)]
  if (size < 56 || at + size * count > head.length) return []
  return Array.from({ length: count }, (_, index) => ({
    type: head.readUInt32LE(at + index * size),
    memoryBytes: Number(head.readBigUInt64LE(at + index * size + 40)),
  }))
}

/** Of an unpacked kernel only its segments come into memory: the file may hold many times as much for a debugger. */
function loadedBytes(head: Buffer): number | null {
  const kernel = kernelOf(head)
  if (typeof kernel === 'string' || kernel.format !== 'vmlinux') return null
  const sizes = segments(head).filter(({ type }) => type === loaded)
  return sizes.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0)
}

function look(path: string, remedy: string): Promise<Looked> {
  return readable(path, remedy, async file => {
    const { size } = await file.stat()
    if (size === 0) throw new Error('it is empty')
    const head = Buffer.alloc(headBytes)
    const { bytesRead } = await file.read(head, 0, headBytes, 0)
    return { head: head.subarray(0, bytesRead), bytes: size }
  })
}

async function readable(path: string, remedy: string): Promise<undefined>
async function readable<T>(path: string, remedy: string, read: (file: FileHandle) => Promise<T>): Promise<T>
async function readable<T>(path: string, remedy: string, read?: (file: FileHandle) => Promise<T>) {
  try {
    const file = await open(path, 'r')
    try {
      return await read?.(file)
    } finally {
      await file.close()
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    const message = `${path} cannot be read; ${remedy} (${reason})`
    throw new TidegateError('image_missing', message, { details: { path }, cause: error })
  }
}
