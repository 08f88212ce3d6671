/** The qemu driver's lines of `tidegate doctor`: what is there, what is missing, and what to type. Throws nothing. */
import { mkdir } from 'node:fs/promises'
import { resolve } from 'node:path'
import { toTidegateError } from '../../errors.ts'
import type { Diagnosis } from '../driver.ts'
import { openNamespaces } from '../network/namespace.ts'
import { askAbilities } from './abilities.ts'
import { chooseAccelerator, qemuVersion } from './accelerator.ts'
import { freeBytes } from './disk.ts'
import { readBase } from './disks.ts'
import { requireImage } from './image.ts'
import { chooseSnapshot } from './snapshot-choice.ts'
import { parseTemplate, type QemuOptions, type QemuTemplate } from './template.ts'

const freeBytesMin = 2 * 1024 ** 3
const buildCommand = 'node examples/vm/build-image.ts'

export async function checkQemu(
  options: QemuOptions,
  directory: string,
  template: Readonly<Record<string, unknown>> | null,
): Promise<readonly Diagnosis[]> {
  const rows = [
    await row('qemu', 'npm run setup', async () => {
      await askAbilities(options.binary)
      return qemuVersion(options.binary)
    }),
    {
      ...(await row('disk', 'free some space, or give the node another directory', () =>
        diskDetail(directory),
      )),
      advice: true,
    } as const,
  ]
  if (template === null) return rows
  let parsed: QemuTemplate | null = null
  const shape = await row('template', 'correct instance.template in the config', async () => {
    parsed = located(parseTemplate(template))
    return 'its fields are right'
  })
  rows.push(shape)
  return parsed === null ? rows : [...rows, ...(await imageRows(options, parsed))]
}

/** The template with its paths absolute: QEMU runs in another directory than we do. */
export function located(template: QemuTemplate): QemuTemplate {
  const { kernel, initrd, disk } = template
  const base = disk?.base ? resolve(disk.base) : null
  return { ...template, kernel: resolve(kernel), initrd: resolve(initrd), disk: disk && { base } }
}

async function imageRows(options: QemuOptions, template: QemuTemplate): Promise<readonly Diagnosis[]> {
  const image = await row('vm image', buildCommand, async () => {
    await requireImage(template)
    if (template.disk?.base) await readBase(template.disk.base)
    return template.initrd
  })
  if (!image.ok) return [image]
  const choice = template.accelerator === 'auto' ? options.accelerator : template.accelerator
  const accelerator = await row('accelerator', 'set accelerator: tcg in the node’s options', async () => {
    const request = { binary: options.binary, kernel: template.kernel }
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

async function diskDetail(directory: string): Promise<string> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const free = await freeBytes(directory)
  const gib = (free / 1024 ** 3).toFixed(1)
  if (free < freeBytesMin) throw new Error(`only ${gib} GiB are free in ${directory}`)
  return `${gib} GiB are free in ${directory}`
}

async function row(name: string, fix: string, look: () => Promise<string>): Promise<Diagnosis> {
  try {
    return { name, ok: true, detail: await look() }
  } catch (error) {
    const { code, message } = toTidegateError(error, 'hypervisor_failed')
    return { name, ok: false, detail: message, fix, code }
  }
}
