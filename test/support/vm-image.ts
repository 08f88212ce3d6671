/** The demo VM's image for tests, as a template of the qemu driver: built when it is not there, cached for later runs. */
import { buildImage } from '../../examples/vm/build-image.ts'

export interface VmImageTemplate {
  readonly kernel: string
  readonly initrd: string
}

let image: VmImageTemplate | null = null

export async function vmImage(): Promise<VmImageTemplate & Record<string, unknown>> {
  if (image === null) {
    const { kernel, initrd } = buildImage()
    image = { kernel, initrd }
  }
  return { ...image }
}

/** For Firecracker, which boots no packed kernel. */
export async function unpackedVmImage(): Promise<VmImageTemplate> {
  const { vmlinux, initrd } = buildImage({ vmlinux: true })
  return { kernel: vmlinux!, initrd }
}

/** The same with another main file, relative to the repository, in a folder of its own. */
export async function vmImageOf(
  main: string,
  out: string,
): Promise<VmImageTemplate & Record<string, unknown>> {
  const { kernel, initrd } = buildImage({ main, out })
  return { kernel, initrd }
}
