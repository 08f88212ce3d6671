/** The firecracker driver's lines of `tidegate doctor`: what is there, what is missing, and what to type. Throws nothing. */
import { resolve } from 'node:path'
import type { Diagnosis } from '../driver.ts'
import type { Network } from '../network/network.ts'
import { diskRow, reflinkRow, row, templateRows } from '../vm/doctor.ts'
import { type Bootable, hostProcessor, requireBootFiles } from '../vm/image.ts'
import { binaryFacts, tryKernel } from './binary.ts'
import { type FirecrackerOptions, type FirecrackerTemplate, parseTemplate } from './template.ts'
import { since } from './versions.ts'

export interface CheckRequest {
  readonly options: FirecrackerOptions
  readonly directory: string
  readonly network: Network
  readonly template: Readonly<Record<string, unknown>> | null
}

export async function checkFirecracker(request: CheckRequest): Promise<readonly Diagnosis[]> {
  const { options, directory, network, template } = request
  let version: string | null = null
  const binary = await row(
    'firecracker',
    'install Firecracker 1.13 or later (not 1.16.0) and set nodes[].options.binary to its path',
    async () => {
      const { format, ...facts } = await binaryFacts(options.binary)
      version = facts.version
      return `Firecracker ${version}, snapshots of format ${format}`
    },
  )
  const places = [await diskRow(directory), await reflinkRow(directory)]
  const rows = [binary, ...places, ...(await network.check())]
  if (template === null) return rows
  const shape = await templateRows(
    () => located(parseTemplate(template)),
    parsed => imageRows(options, parsed, version),
  )
  return [...rows, ...shape]
}

/** The template with its paths absolute: Firecracker runs in another directory than we do. */
export function located(template: FirecrackerTemplate): FirecrackerTemplate {
  const { kernel, initrd, rootfs } = template
  return {
    ...template,
    kernel: resolve(kernel),
    initrd: initrd === null ? null : resolve(initrd),
    rootfs: rootfs === null ? null : resolve(rootfs),
  }
}

/**
 * Throws `image_missing` or `template_invalid`, naming the file and the fix. Returns the memory that a boot needs. `version`:
 * of Firecracker; null when it is not known, and then a kernel is taken that any of them would take.
 */
export function requireImage(
  { kernel, initrd, rootfs }: FirecrackerTemplate,
  version: string | null,
): Promise<number> {
  const files = { kernel, initrd, disks: rootfs === null ? [] : [rootfs] }
  return requireBootFiles(files, bootable(hostProcessor(), version))
}

function bootable(processor: string, version: string | null): Bootable {
  const remedy = 'docs/firecracker.md says what an image needs'
  if (processor !== 'x86-64')
    return { processor, formats: ['Image'], wanted: `a Linux kernel for ${processor} (Image)`, remedy }
  const unpacked = 'an unpacked Linux kernel for x86-64 (vmlinux)'
  const wanted = `${unpacked}: scripts/extract-vmlinux of the Linux sources makes one of a bzImage`
  const packedToo = version === null || since(version, 1, 17)
  return { processor, formats: packedToo ? ['vmlinux', 'bzImage'] : ['vmlinux'], wanted, remedy }
}

async function imageRows(
  options: FirecrackerOptions,
  template: FirecrackerTemplate,
  version: string | null,
): Promise<readonly Diagnosis[]> {
  const image = await row('vm image', 'see docs/firecracker.md', async () => {
    await requireImage(template, version)
    return template.initrd ?? template.rootfs ?? template.kernel
  })
  if (!image.ok || version === null) return [image]
  const fix =
    'run on a host whose KVM works (a bare machine, or a VM with nested virtualisation), or use qemu'
  const boots = await row('kvm', fix, async () => {
    const why = await tryKernel(options.binary, template.kernel)
    if (why !== null) throw new Error(why)
    return 'this kernel starts'
  })
  return [image, boots]
}
