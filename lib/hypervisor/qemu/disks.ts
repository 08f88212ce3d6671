/**
 * The disks of instances: chains of qcow2 images of which only the last is ever written.
 *
 *   base image ◀── disk-1 ◀── disk-2 ◀── the source's, since the snapshot
 *                               ▲└────── a clone's
 *                               └─ the snapshot
 *
 * Every directory (instance or snapshot) has a hard link to each image that it stands on, under the image's one name, which
 * nothing else ever gets. So an image's link count is its reference count: it is freed with the last directory that uses it,
 * also when that directory is removed by hand, and no count can be wrong after a crash. A base image is not linked but named
 * by its path, because it may be on another file system; it must stay as it is while instances stand on it.
 */
import { randomBytes } from 'node:crypto'
import { link, open, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { TidegateError } from '../../errors.ts'
import { ioError, isCode } from '../ownership.ts'
import { allocatedBytes } from '../vm/disk.ts'
import { type Backing, diskBytesMax, emptyImage, readImageHead } from './qcow2.ts'
import type { Qmp } from './qmp.ts'

/** The images of one disk as QEMU has them open, the written one first. */
export interface Chain {
  readonly node: string
  readonly names: readonly string[]
  readonly virtualBytes: number
}

const headBytes = 64
const nameTries = 3
const timeoutMs = 10_000
const chainDepthMax = 64
const namePattern = /^disk-[0-9a-f]{16}\.qcow2$/

/** Size and format of an image to start from. Throws `image_missing`, `template_invalid`. */
export async function readBase(path: string): Promise<Backing & { readonly bytes: number }> {
  let file: Awaited<ReturnType<typeof open>> | null = null
  try {
    file = await open(path, 'r')
    const head = Buffer.alloc(headBytes)
    const { bytesRead } = await file.read(head, 0, headBytes, 0)
    const image = readImageHead(head.subarray(0, bytesRead), (await file.stat()).size)
    if (image.bytes <= 0 || image.bytes > diskBytesMax) {
      throw new TidegateError('template_invalid', `${path} is no disk image: it is empty or damaged`)
    }
    return { path, ...image }
  } catch (error) {
    if (error instanceof TidegateError) throw error
    const reason = error instanceof Error ? error.message : String(error)
    throw new TidegateError(
      'image_missing',
      `instance.template.disk: ${reason}; give an image that can be read`,
      {
        cause: error,
        details: { path },
      },
    )
  } finally {
    await file?.close()
  }
}

/** Makes an empty image in the directory, on top of another, and returns its name. It takes no space until it is written. */
export async function makeImage(
  directory: string,
  virtualBytes: number,
  backing: Backing | null,
): Promise<string> {
  const { length, pieces } = emptyImage(virtualBytes, backing)
  for (let attempt = 1; ; attempt++) {
    const name = `disk-${randomBytes(8).toString('hex')}.qcow2`
    try {
      const file = await open(join(directory, name), 'wx', 0o600)
      try {
        await file.truncate(length)
        for (const { at, data } of pieces) await file.write(data, 0, data.length, at)
      } finally {
        await file.close()
      }
      return name
    } catch (error) {
      if (!isCode(error, 'EEXIST') || attempt >= nameTries) throw ioError(error, 'cannot make a disk')
    }
  }
}

/** Links every image of `from` into `to`. */
export async function linkImages(from: string, to: string, names: readonly string[]): Promise<void> {
  for (const name of names) await link(join(from, name), join(to, name))
}

export async function imagesIn(directory: string): Promise<readonly string[]> {
  return (await readdir(directory)).filter(name => namePattern.test(name))
}

/** Bytes that the images in a directory take, those shared with others included. */
export async function imageBytes(directory: string): Promise<number> {
  const sizes = (await imagesIn(directory)).map(name => allocatedBytes(join(directory, name)))
  return (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0)
}

/** What QEMU says; records may be older. Null without a disk. */
export async function readChain(qmp: Qmp): Promise<Chain | null> {
  const devices = (await qmp.execute('query-block', {}, { timeoutMs })) as readonly {
    readonly inserted?: { readonly 'node-name'?: string; readonly image?: Image }
  }[]
  const inserted = devices.find(device => device.inserted?.image !== undefined)?.inserted
  if (!inserted?.image) return null
  const names: string[] = []
  let image: Image | undefined = inserted.image
  for (let depth = 0; image !== undefined && depth < chainDepthMax; depth++) {
    const name = image.filename.split('/').at(-1) ?? ''
    if (namePattern.test(name)) names.push(name)
    image = image['backing-image']
  }
  return { node: inserted['node-name'] ?? '', names, virtualBytes: inserted.image['virtual-size'] }
}

interface Image {
  readonly filename: string
  readonly 'virtual-size': number
  readonly 'backing-image'?: Image
}

/** Takes away links to images that the instance no longer stands on. */
export async function forgetImages(directory: string, chain: Chain): Promise<void> {
  for (const name of await imagesIn(directory)) {
    if (!chain.names.includes(name)) await rm(join(directory, name), { force: true })
  }
}
