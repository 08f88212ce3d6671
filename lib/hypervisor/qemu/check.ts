/** The qemu driver's lines of `tidegate doctor`: what is there, what is missing, and what to type. Throws nothing. */
import { access, constants, mkdir } from 'node:fs/promises'
import { resolve } from 'node:path'
import { TidegateError, toTidegateError } from '../../errors.ts'
import type { Diagnosis } from '../driver.ts'
import { chooseAccelerator, qemuVersion } from './accelerator.ts'
import { freeBytes } from './disk.ts'
import { parseTemplate, type QemuOptions, type QemuTemplate } from './template.ts'

const freeBytesMin = 2 * 1024 ** 3
const buildCommand = 'node examples/vm/build-image.ts'

export async function checkQemu(
  options: QemuOptions,
  directory: string,
  template: Readonly<Record<string, unknown>> | null,
): Promise<readonly Diagnosis[]> {
  const rows = [
    await row('qemu', 'npm run setup', () => qemuVersion(options.binary)),
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
  return { ...template, kernel: resolve(template.kernel), initrd: resolve(template.initrd) }
}

/** Throws `image_missing` that names the file and the command that builds it. */
export async function requireImage(template: QemuTemplate): Promise<void> {
  for (const path of [template.kernel, template.initrd]) {
    await access(path, constants.R_OK).catch(error => {
      const message = `${path} cannot be read; build the image with: ${buildCommand}`
      throw new TidegateError('image_missing', message, { details: { path }, cause: error })
    })
  }
}

async function imageRows(options: QemuOptions, template: QemuTemplate): Promise<readonly Diagnosis[]> {
  const image = await row('vm image', buildCommand, async () => {
    await requireImage(template)
    return template.initrd
  })
  if (!image.ok) return [image]
  const choice = template.accelerator === 'auto' ? options.accelerator : template.accelerator
  const accelerator = await row('accelerator', 'set accelerator: tcg in the node’s options', async () => {
    const request = { binary: options.binary, kernel: template.kernel }
    const verdict = await chooseAccelerator(choice, request)
    return `${verdict.accelerator}: ${verdict.reason}`
  })
  return [image, accelerator]
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
