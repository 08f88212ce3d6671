/** Files that look like what a VM boots from, as far as a driver looks: the doubles boot from them as well. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** The head of a packed kernel for x86-64. */
export function bzImage(): Buffer {
  const file = Buffer.alloc(2048)
  file.write('HdrS', 0x202, 'latin1')
  return file
}

export interface ElfShape {
  readonly processor?: number
  readonly bits?: 32 | 64
  /** What its one loaded segment takes in memory. */
  readonly memoryBytes?: number
  /** It names a program that loads it, as every dynamic program does. */
  readonly interpreter?: boolean
}

/** The head of an unpacked kernel, for x86-64 unless said otherwise. */
export function vmlinux({
  processor = 62,
  bits = 64,
  memoryBytes = 0,
  interpreter = false,
}: ElfShape = {}): Buffer {
  const [headerBytes, segmentBytes] = [64, 56]
  const types = interpreter ? [1, 3] : [1]
  const file = Buffer.alloc(2048)
  file.write('\x7fELF', 0, 'latin1')
  file[4] = bits / 32
  file.writeUInt16LE(processor, 18)
  file.writeBigUInt64LE(BigInt(headerBytes), 32)
  file.writeUInt16LE(segmentBytes, 54)
  file.writeUInt16LE(types.length, 56)
  for (const [index, type] of types.entries()) {
    const at = headerBytes + index * segmentBytes
    file.writeUInt32LE(type, at)
    file.writeBigUInt64LE(BigInt(memoryBytes), at + 40)
  }
  return file
}

/** The head of what arm64 boots. */
export function arm64Image(): Buffer {
  const file = Buffer.alloc(2048)
  file.write('ARMd', 56, 'latin1')
  return file
}

/** For this machine, whatever it is. */
export const kernelHere = (): Buffer => (process.arch === 'arm64' ? arm64Image() : vmlinux())

/** A type and no interface: a template is any record. */
type BootPaths = { readonly kernel: string; readonly initrd: string }

let made: BootPaths | null = null

/** A kernel and an initial file system in a folder that is there until the process ends. */
export function bootFiles(): BootPaths {
  made ??= makeFiles()
  return made
}

function makeFiles(): BootPaths {
  const home = mkdtempSync(join(tmpdir(), 'tidegate-boot-'))
  process.once('exit', () => rmSync(home, { recursive: true, force: true }))
  const [kernel, initrd] = [join(home, 'kernel'), join(home, 'initramfs')]
  writeFileSync(kernel, kernelHere())
  writeFileSync(initrd, 'what it unpacks to is not looked at')
  return { kernel, initrd }
}
