/**
 * A disk that is saved again and again, as a clone that stands by makes anew every few minutes: its chain of images is shortened while
 * the machine runs, and nobody who stands on an early image sees any of it. A real QEMU whose processors never run: what is tried is its
 * disks.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../../lib/clock.ts'
import { blockNode, diskDevice, diskNode, files } from '../../../lib/hypervisor/qemu/command-line.ts'
import { prepareDisk, shortenChain } from '../../../lib/hypervisor/qemu/disk-snapshot.ts'
import { linkImages, makeImage, readBase, readChain } from '../../../lib/hypervisor/qemu/disks.ts'
import type { Backing } from '../../../lib/hypervisor/qemu/qcow2.ts'
import type { Qmp } from '../../../lib/hypervisor/qemu/qmp.ts'
import { startVm } from '../../../lib/hypervisor/qemu/vm.ts'
import { findVmm, killVmm, vmmGoneBy } from '../../../lib/hypervisor/vm/process.ts'
import { until } from '../../support/wait.ts'

const MiB = 2 ** 20
const limits = { timeoutMs: 60_000 }
const signal = new AbortController().signal
const snapshots = 10
/** Each snapshot's own piece of the disk, and what is written into it. */
const piece = 64 * 1024
const mark = (n: number) => 0xa0 + n

function folders(t: Test) {
  const root = mkdtempSync(join(tmpdir(), 'tidegate-chain-'))
  t.teardown(() => rmSync(root, { recursive: true, force: true }))
  return (name: string) => {
    mkdirSync(join(root, name))
    return join(root, name)
  }
}

/** A machine with a disk and nothing else, which does not run. */
async function machineOn(t: Test, directory: string, image: string): Promise<Qmp> {
  const args = [
    ...[
      '-machine',
      'pc',
      '-accel',
      'tcg',
      '-m',
      '16',
      '-S',
      '-nodefaults',
      '-no-user-config',
      '-display',
      'none',
    ],
    ...[
      '-blockdev',
      JSON.stringify(blockNode(diskNode, image)),
      '-device',
      `virtio-blk-pci,drive=${diskNode},id=${diskDevice}`,
    ],
    ...['-qmp', `unix:${files.control},server=on,wait=off`],
  ]
  const binary = 'qemu-system-x86_64'
  const start = { binary, directory, args, timeoutMs: 60_000, signal, started: async () => {} }
  const qmp = await startVm(start, systemClock)
  t.teardown(async () => {
    qmp.close()
    await killVmm(directory, null, systemClock)
  })
  return qmp
}

/** What it says goes to QEMU's standard output, which is written out when QEMU ends: `ended` reads it. */
async function io(qmp: Qmp, command: string): Promise<void> {
  const line = `qemu-io -d /machine/peripheral/${diskDevice}/virtio-backend "${command}"`
  const refused = await qmp.execute('human-monitor-command', { 'command-line': line }, limits)
  if (refused !== '') throw new Error(String(refused))
}

const write = (qmp: Qmp, n: number) => io(qmp, `write -P ${mark(n)} ${n * piece} ${piece}`)
const holds = (qmp: Qmp, n: number, value: number) => io(qmp, `read -P ${value} ${n * piece} ${piece}`)

/** Ends it and looks at what it said: so many writes and reads, each of what should be there. */
async function ended(t: Test, qmp: Qmp, directory: string, counts: { wrote: number; read: number }) {
  await qmp.execute('quit', {}, limits).catch(() => {})
  const key = await findVmm(directory, null)
  if (key) await vmmGoneBy(directory, key, Number.POSITIVE_INFINITY, systemClock)
  const said = readFileSync(join(directory, files.stderr), 'utf8')
  t.notMatch(said, /verification failed|error|Input\/output/i)
  for (const [what, count] of Object.entries(counts)) {
    t.equal(said.match(new RegExp(`^${what} 65536/65536 bytes`, 'gm'))?.length ?? 0, count, what)
  }
}

/** Saves it as a driver does: the image on top at the moment at which it stands still, links to all under it, then shorter. */
async function save(qmp: Qmp, source: string, target: string): Promise<string> {
  const disk = (await prepareDisk(qmp, source, limits))!
  await qmp.executeAll([disk.command], limits)
  await linkImages(source, target, disk.chain.names)
  await shortenChain(qmp)
  return disk.chain.names[0]!
}

async function source(t: Test, base: (Backing & { readonly bytes: number }) | null) {
  const folder = folders(t)
  const directory = folder('source')
  const image = await makeImage(directory, 16 * MiB, base)
  return { folder, directory, qmp: await machineOn(t, directory, image) }
}

const idle = (qmp: Qmp) =>
  until('no copy is under way', async () => {
    const jobs = (await qmp.execute('query-block-jobs', {}, limits)) as readonly unknown[]
    return jobs.length === 0
  })

t.test('ten snapshots: a short chain, and a clone of an early one reads what was there then', async t => {
  const { folder, directory, qmp } = await source(t, null)
  const saved: { readonly directory: string; readonly image: string }[] = []
  let longest = 0
  for (let n = 0; n < snapshots; n++) {
    await write(qmp, n)
    const target = folder(`s${n}`)
    saved.push({ directory: target, image: await save(qmp, directory, target) })
    longest = Math.max(longest, (await readChain(qmp))!.names.length)
    await idle(qmp)
  }
  t.ok(longest >= 8, `it grew to ${longest} images`)
  const { names } = (await readChain(qmp))!
  t.ok(names.length <= 3, `and is ${names.length} long`)
  for (let n = 0; n < snapshots; n++) await holds(qmp, n, mark(n))
  const early = saved[2]!
  const clone = folder('clone')
  await linkImages(early.directory, clone, readdirSync(early.directory))
  for (const { directory } of saved) rmSync(directory, { recursive: true })
  const over = await makeImage(clone, 16 * MiB, { path: early.image, format: 'qcow2' })
  const cloned = await machineOn(t, clone, over)
  for (let n = 0; n < 3; n++) await holds(cloned, n, mark(n))
  for (let n = 3; n < snapshots; n++) await holds(cloned, n, 0)
  await io(cloned, `write -P 1 0 ${piece}`)
  await holds(qmp, 0, mark(0))
  await ended(t, cloned, clone, { wrote: 1, read: snapshots })
  await ended(t, qmp, directory, { wrote: snapshots, read: snapshots + 1 })
})

t.test('an operator’s base image stays under it, untouched', async t => {
  const folder = folders(t)
  const base = folder('base')
  const made = await makeImage(base, 16 * MiB, null)
  const maker = await machineOn(t, base, made)
  await write(maker, 15)
  await ended(t, maker, base, { wrote: 1, read: 0 })
  const path = join(base, 'operators.qcow2')
  renameSync(join(base, made), path)
  const { mtimeMs } = statSync(path)
  const { directory, qmp, folder: target } = await source(t, await readBase(path))
  for (let n = 0; n < snapshots; n++) {
    await write(qmp, n)
    await save(qmp, directory, target(`s${n}`))
    await idle(qmp)
  }
  t.ok((await readChain(qmp))!.names.length <= 3)
  for (const n of [0, snapshots - 1, 15]) await holds(qmp, n, mark(n))
  const nodes = (await qmp.execute('query-named-block-nodes', { flat: true }, limits)) as { file: string }[]
  t.ok(
    nodes.some(({ file }) => file === path),
    'it still stands on the base',
  )
  t.equal(statSync(path).mtimeMs, mtimeMs)
  await ended(t, qmp, directory, { wrote: snapshots, read: 3 })
})

t.test('a snapshot ends a copy that is not done, and the next shortens the chain after all', async t => {
  const { folder, directory, qmp } = await source(t, null)
  for (let n = 0; n < 4; n++) {
    await write(qmp, n)
    await save(qmp, directory, folder(`s${n}`))
  }
  const { node } = (await readChain(qmp))!
  await qmp.execute('block-stream', { 'job-id': 'shorten', device: node, speed: 1 }, limits)
  const image = await save(qmp, directory, folder('during'))
  t.ok(image)
  t.same(await qmp.execute('query-block-jobs', {}, limits), [], 'it was ended')
  t.ok((await readChain(qmp))!.names.length >= 5)
  for (let n = 4; n < 9; n++) {
    await write(qmp, n)
    await save(qmp, directory, folder(`s${n}`))
    await idle(qmp)
  }
  t.ok((await readChain(qmp))!.names.length <= 4)
  for (let n = 0; n < 9; n++) await holds(qmp, n, mark(n))
  await ended(t, qmp, directory, { wrote: 9, read: 9 })
})
