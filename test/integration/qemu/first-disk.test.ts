/** A VM that was made without a disk gets one while it runs: its guest sees it, and a clone of it has one of its own. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Endpoint } from '../../../lib/hypervisor/driver.ts'
import { qemuDriver, qemuResources } from '../../support/qemu-node.ts'
import { vmImage } from '../../support/vm-image.ts'
import { until } from '../../support/wait.ts'

const MiB = 2 ** 20
const signal = AbortSignal.timeout(300_000)

t.test('a disk is plugged in, grows, and is cloned', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-disk-'))
  const driver = qemuDriver(directory)
  t.teardown(async () => {
    const { instances, snapshots } = await driver.inspect()
    for (const { name } of [...instances, ...snapshots]) await driver.destroy(name)
    rmSync(directory, { recursive: true, force: true })
  })
  const owner = { installation: 'test', cluster: 'web', operation: 'op1' }
  const of = (name: string) => ({
    ...{ name, owner, port: 8080, resources: qemuResources },
    template: { ...template, snapshot: 'copy' },
  })
  const template = await vmImage()
  const images = (name: string) =>
    readdirSync(join(directory, 'instances', name)).filter(file => file.endsWith('.qcow2'))
  const diskOf = async ({ host, port }: Endpoint) =>
    ((await (await fetch(`http://${host}:${port}/whoami`)).json()) as { disk_bytes: number | null })
      .disk_bytes

  const { address } = await driver.create(of('bare'), signal)
  await until('it answers', async () => (await fetch(`http://${address!.host}:${address!.port}/healthz`)).ok)
  t.equal(await diskOf(address!), null)
  t.same(images('bare'), [])

  const counted = qemuResources.diskBytes
  await t.rejects(driver.resize('bare', { ...qemuResources, diskBytes: counted / 2 }, signal), {
    code: 'resize_unsupported',
    message: /made without a disk/,
  })
  await driver.resize('bare', { ...qemuResources, diskBytes: counted + 32 * MiB }, signal)
  await until('the guest sees it', async () => (await diskOf(address!)) === counted + 32 * MiB)
  t.equal(images('bare').length, 1)
  const { resources } = await driver.resize(
    'bare',
    { ...qemuResources, diskBytes: counted + 64 * MiB },
    signal,
  )
  t.equal(resources.diskBytes, counted + 64 * MiB)
  await until('and that it has grown', async () => (await diskOf(address!)) === counted + 64 * MiB)

  await driver.snapshot({ name: 'saved', owner, source: 'bare' }, signal)
  const grown = { ...qemuResources, diskBytes: counted + 64 * MiB }
  const clone = await driver.clone({ ...of('clone'), resources: grown, snapshot: 'saved' }, signal)
  await until('the clone has it', async () => (await diskOf(clone.address!)) === counted + 64 * MiB)
  t.equal(images('clone').length > images('bare').length - 1, true, 'on an image of its own')
})
