/** The firecracker driver's lines of `tidegate doctor`: what is there, what is missing, and what to type. Throws nothing. */
import { access, constants } from 'node:fs/promises'
import { resolve } from 'node:path'
import { TidegateError } from '../../errors.ts'
import type { Diagnosis } from '../driver.ts'
import type { Network } from '../network/network.ts'
import { diskRow, reflinkRow, row, templateRows } from '../vm/doctor.ts'
import { binaryFacts, tryKernel } from './binary.ts'
import { type FirecrackerOptions, type FirecrackerTemplate, parseTemplate } from './template.ts'

export interface CheckRequest {
  readonly options: FirecrackerOptions
  readonly directory: string
  readonly network: Network
  readonly template: Readonly<Record<string, unknown>> | null
}

export async function checkFirecracker(request: CheckRequest): Promise<readonly Diagnosis[]> {
  const { options, directory, network, template } = request
  const binary = await row(
    'firecracker',
    'install Firecracker 1.13 or later (not 1.16.0) and set nodes[].options.binary to its path',
    async () => {
      const { version, format } = await binaryFacts(options.binary)
      return `Firecracker ${version}, snapshots of format ${format}`
    },
  )
  const places = [await diskRow(directory), await reflinkRow(directory)]
  const rows = [binary, ...places, ...(await network.check())]
  if (template === null) return rows
  const shape = await templateRows(
    () => located(parseTemplate(template)),
    parsed => imageRows(options, parsed, binary.ok),
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

/** Throws `image_missing` that names the file. */
export async function requireImage({ kernel, initrd, rootfs }: FirecrackerTemplate): Promise<void> {
  for (const path of [kernel, initrd, rootfs]) {
    if (path === null) continue
    await access(path, constants.R_OK).catch(error => {
      const message = `${path} cannot be read; docs/firecracker.md says what an image needs`
      throw new TidegateError('image_missing', message, { details: { path }, cause: error })
    })
  }
}

async function imageRows(
  options: FirecrackerOptions,
  template: FirecrackerTemplate,
  binaryOk: boolean,
): Promise<readonly Diagnosis[]> {
  const image = await row('vm image', 'see docs/firecracker.md', async () => {
    await requireImage(template)
    return template.initrd ?? template.rootfs ?? template.kernel
  })
  if (!image.ok || !binaryOk) return [image]
  const fix =
    'run on a host whose KVM works (a bare machine, or a VM with nested virtualisation), or use qemu'
  const boots = await row('kvm', fix, async () => {
    const why = await tryKernel(options.binary, template.kernel)
    if (why !== null) throw new Error(why)
    return 'this kernel starts'
  })
  return [image, boots]
}
