/** The cloud_hypervisor driver's lines of `tidegate doctor`: what is there, what is missing, what to type. Throws nothing. */
import { resolve } from 'node:path'
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import type { Diagnosis } from '../driver.ts'
import type { Network } from '../network/network.ts'
import { diskRow, reflinkRow, row, templateRows } from '../vm/doctor.ts'
import { type Bootable, hostProcessor, requireBootFiles } from '../vm/image.ts'
import { binaryVersion, bootTrouble, type Trial } from './boot-trial.ts'
import { type CloudHypervisorOptions, type CloudHypervisorTemplate, parseTemplate } from './template.ts'

const buildCommand = 'node examples/vm/build-image.ts'

export interface Place {
  readonly options: CloudHypervisorOptions
  readonly directory: string
  readonly network: Network
}

export async function checkCloudHypervisor(
  { options, directory, network }: Place,
  template: Readonly<Record<string, unknown>> | null,
  clock: Clock,
): Promise<readonly Diagnosis[]> {
  const binary = await row('cloud-hypervisor', 'install it (docs/cloud-hypervisor.md)', () =>
    binaryVersion(options.binary),
  )
  const rows = [binary, ...(await network.check()), await diskRow(directory), await reflinkRow(directory)]
  if (template === null) return rows
  const version = binary.ok ? binary.detail : null
  const shape = await templateRows(
    () => located(parseTemplate(template)),
    parsed => imageRows(options, parsed, version, clock),
  )
  return [...rows, ...shape]
}

/** The template with its paths absolute: the hypervisor runs in another directory than we do. */
export function located(template: CloudHypervisorTemplate): CloudHypervisorTemplate {
  const disks = template.disks.map(disk => ({ ...disk, path: resolve(disk.path) }))
  return { ...template, kernel: resolve(template.kernel), initrd: resolve(template.initrd), disks }
}

/** Throws `image_missing` or `template_invalid`, naming the file and the fix. Returns the memory that a boot needs. */
export function requireImage({ kernel, initrd, disks }: CloudHypervisorTemplate): Promise<number> {
  const files = { kernel, initrd, disks: disks.map(({ path }) => path) }
  return requireBootFiles(files, bootable(hostProcessor()))
}

const bootable = (processor: string): Bootable => ({
  processor,
  formats: processor === 'x86-64' ? ['bzImage', 'vmlinux'] : ['Image'],
  wanted:
    processor === 'x86-64'
      ? 'a Linux kernel for x86-64 (a bzImage, or a vmlinux with a PVH entry)'
      : `a Linux kernel for ${processor} (Image)`,
  remedy: `build the image with: ${buildCommand}`,
})

/** Throws `hypervisor_failed` when a VM cannot come up here, before one is waited for. */
export async function requireBoot(trial: Trial, clock: Clock): Promise<void> {
  const trouble = await bootTrouble(trial, clock)
  if (trouble === null) return
  const fix = 'it needs KVM that works; the qemu driver runs VMs without'
  throw new TidegateError('hypervisor_failed', `Cloud Hypervisor cannot boot a VM here: ${trouble}; ${fix}`)
}

async function imageRows(
  options: CloudHypervisorOptions,
  template: CloudHypervisorTemplate,
  version: string | null,
  clock: Clock,
): Promise<readonly Diagnosis[]> {
  const image = await row('vm image', buildCommand, async () => {
    await requireImage(template)
    return template.initrd
  })
  if (!image.ok || version === null) return [image]
  const boot = await row('kvm', 'use a machine with KVM, or driver: qemu', async () => {
    await requireBoot({ ...options, ...template, version }, clock)
    return 'this kernel starts under it'
  })
  return [image, boot]
}
