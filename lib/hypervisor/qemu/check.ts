/** The qemu driver's lines of `tidegate doctor`: what is there, what is missing, and what to type. Throws nothing. */
import { access, constants } from 'node:fs/promises'
import { release } from 'node:os'
import { resolve } from 'node:path'
import type { Clock } from '../../clock.ts'
import type { Diagnosis } from '../driver.ts'
import { openNamespaces } from '../network/namespace.ts'
import { diskRow, reflinkRow, row, templateRows } from '../vm/doctor.ts'
import { askAbilities } from './abilities.ts'
import { chooseAccelerator, qemuVersion } from './accelerator.ts'
import { readBase } from './disks.ts'
import { requireImage } from './image.ts'
import { chooseSnapshot } from './snapshot-choice.ts'
import { parseTemplate, type QemuOptions, type QemuTemplate } from './template.ts'

const buildCommand = 'node examples/vm/build-image.ts'

export async function checkQemu(
  options: QemuOptions,
  directory: string,
  template: Readonly<Record<string, unknown>> | null,
  clock: Clock,
): Promise<readonly Diagnosis[]> {
  const rows = [
    await row('qemu', 'npm run setup', async () => {
      await askAbilities(options.binary)
      return qemuVersion(options.binary)
    }),
    await diskRow(directory),
    await reflinkRow(directory),
    await userfaultRow(options.binary),
  ]
  if (template === null) return [...rows, ...(await machineRows(options, clock))]
  const shape = await templateRows(
    () => located(parseTemplate(template)),
    parsed => imageRows(options, parsed, clock),
  )
  return [...rows, ...shape]
}

/** Whether a VM can be saved while it runs on. */
async function userfaultRow(binary: string): Promise<Diagnosis> {
  const fix =
    'run as root, on a Linux with CONFIG_USERFAULTFD, with QEMU 6.0 or later; without, VMs are copied'
  const found = await row('userfaultfd', fix, async () => {
    const { background, backgroundReason } = await askAbilities(binary)
    if (!background) throw new Error(backgroundReason)
    return 'VMs can be saved in the background'
  })
  return { ...found, advice: true }
}

/** What a template decides, as far as it can be said without one. */
async function machineRows(options: QemuOptions, clock: Clock): Promise<readonly Diagnosis[]> {
  const accelerator = await row('accelerator', 'tidegate doctor -c tidegate.yaml', async () => {
    const kernel = await hostKernel()
    if (kernel === null) throw new Error('KVM is tried by booting a kernel, and no template names one')
    const verdict = await chooseAccelerator(options.accelerator, { binary: options.binary, kernel, clock })
    return `${verdict.accelerator}: ${verdict.reason}`
  })
  const networks = await openNamespaces(options.pool).check()
  const needed = options.network === 'namespace'
  return [
    { ...accelerator, advice: true },
    ...networks.map(network => (needed ? network : { ...network, advice: true as const })),
  ]
}

/** This machine's own; null where it has none that we may read. */
async function hostKernel(): Promise<string | null> {
  const path = `/boot/vmlinuz-${release()}`
  return access(path, constants.R_OK).then(
    () => path,
    () => null,
  )
}

/** The template with its paths absolute: QEMU runs in another directory than we do. */
export function located(template: QemuTemplate): QemuTemplate {
  const { kernel, initrd, disk } = template
  const base = disk?.base ? resolve(disk.base) : null
  return { ...template, kernel: resolve(kernel), initrd: resolve(initrd), disk: disk && { base } }
}

async function imageRows(
  options: QemuOptions,
  template: QemuTemplate,
  clock: Clock,
): Promise<readonly Diagnosis[]> {
  const image = await row('vm image', buildCommand, async () => {
    await requireImage(template)
    if (template.disk?.base) await readBase(template.disk.base)
    return template.initrd
  })
  if (!image.ok) return [image]
  const choice = template.accelerator === 'auto' ? options.accelerator : template.accelerator
  const accelerator = await row('accelerator', 'set accelerator: tcg in the node’s options', async () => {
    const request = { binary: options.binary, kernel: template.kernel, clock }
    const verdict = await chooseAccelerator(choice, request)
    return `${verdict.accelerator}: ${verdict.reason}`
  })
  const saved = await row('snapshots', 'set snapshot: copy', async () => {
    const { memory, reason } = await chooseSnapshot(template, options, 0)
    return `${memory === 'anonymous' ? 'background' : 'copy'}: ${reason}`
  })
  const kind = template.network ?? options.network
  const network = kind === 'namespace' ? await openNamespaces(options.pool).check() : []
  return [image, accelerator, saved, ...network]
}
