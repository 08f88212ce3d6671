/** What QEMU boots: its machine is an x86-64 one whatever this machine is. */
import { type Bootable, requireBootFiles } from '../vm/image.ts'
import type { QemuTemplate } from './template.ts'

const bootable: Bootable = {
  processor: 'x86-64',
  formats: ['bzImage'],
  wanted: 'a Linux kernel for x86-64 (bzImage)',
  remedy: 'build the image with: node examples/vm/build-image.ts',
}

/** Throws `image_missing` or `template_invalid`, naming the file and the fix. Returns the memory that a boot needs. */
export const requireImage = ({ kernel, initrd }: QemuTemplate): Promise<number> =>
  requireBootFiles({ kernel, initrd }, bootable)
