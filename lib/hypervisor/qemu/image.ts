/**
 * The files that a template boots from, looked at before anything is started: are they there, are they for this machine, and
 * does what they unpack to fit into the memory.
 */
import { open } from 'node:fs/promises'
import { TidegateError } from '../../errors.ts'
import type { QemuTemplate } from './template.ts'

const buildCommand = 'node examples/vm/build-image.ts'
const headBytes = 1024
/** What a kernel needs to come up at all, beside the file system and its unpacked copy. */
const kernelBytes = 32 * 1024 ** 2

/** Throws `image_missing` or `template_invalid`, naming the file and the fix. Returns the memory that a boot needs. */
export async function requireImage(template: QemuTemplate): Promise<number> {
  const kernel = await look(template.kernel)
  const initrd = await look(template.initrd)
  const kind = kernelKind(kernel.head)
  if (kind !== null) {
    throw new TidegateError(
      'template_invalid',
      `instance.template.kernel: ${template.kernel} is ${kind}; give a Linux kernel for x86-64 (bzImage)`,
      { details: { field: 'instance.template.kernel', path: template.kernel } },
    )
  }
  return kernelBytes + kernel.bytes + 2 * initrd.bytes
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

/** What it is instead, or null for a kernel as we need it. Numbers: Linux Documentation/arch/x86/boot.rst, arm64/booting.rst. */
export function kernelKind(head: Buffer): string | null {
  if (head.subarray(0x202, 0x206).toString('latin1') === 'HdrS') return null
  if (head.subarray(56, 60).toString('latin1') === 'ARMd') return 'a kernel for arm64'
  if (head.subarray(48, 52).toString('latin1') === 'RISC') return 'a kernel for RISC-V'
  if (head.subarray(0, 4).toString('latin1') !== '\x7fELF') return 'no Linux kernel'
  return head.readUInt16LE(18) === 62 ? 'an unpacked kernel' : 'a program for another processor'
}

async function look(path: string): Promise<{ readonly head: Buffer; readonly bytes: number }> {
  try {
    const file = await open(path, 'r')
    try {
      const head = Buffer.alloc(headBytes)
      await file.read(head, 0, headBytes, 0)
      const { size } = await file.stat()
      if (size === 0) throw new Error('it is empty')
      return { head, bytes: size }
    } finally {
      await file.close()
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    const message = `${path} cannot be read; build the image with: ${buildCommand} (${reason})`
    throw new TidegateError('image_missing', message, { details: { path }, cause: error })
  }
}
