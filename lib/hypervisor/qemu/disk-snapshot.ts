/**
 * A disk saved at the moment its VM stands still: from then on the VM writes to a new image on top, and what it wrote
 * before is only read, by it, by the snapshot, and by every clone. What takes time is done before that moment.
 *
 * Each snapshot makes its source's chain one image longer. Past `chainMax` QEMU copies all of the chain into the last image
 * while the VM runs (a "stream"), nothing that others stand on being written. The next snapshot ends a copy that is not done.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { NoAnswer } from '../no-answer.ts'
import { blockNode } from './command-line.ts'
import { type Chain, forgetImages, makeImage, readChain } from './disks.ts'
import type { Qmp, QmpLimits } from './qmp.ts'

export interface PreparedDisk {
  readonly chain: Chain
  /** The command that saves the disk, for the moment at which the VM stands still. */
  readonly command: { readonly name: 'blockdev-snapshot'; readonly args: Readonly<Record<string, unknown>> }
  /** When it did not come to that. */
  drop(): Promise<void>
}

const quick = { timeoutMs: 10_000 } as const
/** Reads go through each image of the chain that does not have the cluster. */
const chainMax = 8
const chainHardMax = 24
const streamJob = 'shorten'

/** Null when the VM has no disk. */
export async function prepareDisk(
  qmp: Qmp,
  directory: string,
  limits: QmpLimits,
): Promise<PreparedDisk | null> {
  let chain = await readChain(qmp)
  if (chain === null) return null
  await endStream(qmp, chain.names.length > chainHardMax, limits)
  chain = (await readChain(qmp)) ?? chain
  await forgetImages(directory, chain)
  const image = await makeImage(directory, chain.virtualBytes, { path: chain.names[0]!, format: 'qcow2' })
  const node = `d${image.slice('disk-'.length, -'.qcow2'.length)}`
  /** Refused once the VM writes to it. */
  const drop = async () => {
    try {
      await qmp.execute('blockdev-del', { 'node-name': node }, quick)
    } catch {
      return
    }
    await rm(join(directory, image), { force: true })
  }
  try {
    await qmp.execute('blockdev-add', { ...blockNode(node, image), backing: null }, quick)
  } catch (error) {
    // It may have been opened, and only the answer is missing.
    if (error instanceof NoAnswer && error.sent) await drop()
    else await rm(join(directory, image), { force: true })
    throw error
  }
  const args = { node: chain.node, overlay: node }
  return { chain, command: { name: 'blockdev-snapshot', args }, drop }
}

/** Begins to shorten a chain that has grown too long. It goes on by itself and may fail: then the chain stays long. */
export async function shortenChain(qmp: Qmp): Promise<void> {
  const chain = await readChain(qmp).catch(() => null)
  if (chain === null || chain.names.length <= chainMax) return
  const args = { 'job-id': streamJob, device: chain.node, ...(await baseOf(qmp)) }
  await qmp.execute('block-stream', args, quick).catch(() => {})
}

/** All down to the operator's base image, which stays under it; everything where there is none. */
async function baseOf(qmp: Qmp): Promise<Record<string, unknown>> {
  const nodes = (await qmp.execute('query-named-block-nodes', { flat: true }, quick)) as readonly {
    readonly 'node-name': string
    readonly drv: string
    readonly file: string
  }[]
  const ours = /(^|\/)disk-[0-9a-f]{16}\.qcow2$/
  const base = nodes.find(node => (node.drv === 'raw' || node.drv === 'qcow2') && !ours.test(node.file))
  return base === undefined ? {} : { 'base-node': base['node-name'] }
}

async function endStream(qmp: Qmp, finish: boolean, limits: QmpLimits): Promise<void> {
  const jobs = (await qmp.execute('query-block-jobs', {}, quick)) as readonly { readonly device: string }[]
  if (jobs.length === 0) return
  if (!finish)
    await qmp.execute('block-job-cancel', { device: streamJob, force: true }, quick).catch(() => {})
  const ended = ({ event }: { event: string }) =>
    event === 'BLOCK_JOB_COMPLETED' || event === 'BLOCK_JOB_CANCELLED'
  const left = (await qmp.execute('query-block-jobs', {}, quick)) as readonly unknown[]
  if (left.length > 0) await qmp.event(ended, 'the end of a copy of the disk', limits)
}
