import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ownDiskBytes } from '../../../../lib/hypervisor/vm/disk.ts'

t.test('what the disks of a VM occupy: its own files, and not what they point to', async t => {
  const directory = t.testdir({ shared: 'x'.repeat(50_000), ram: 'x'.repeat(9_000) })
  t.equal(await ownDiskBytes(directory), 0, 'none')
  symlinkSync(join(directory, 'shared'), join(directory, 'disk'))
  mkdirSync(join(directory, 'disks'))
  t.equal(await ownDiskBytes(directory), 0, 'a link to what all share, and a folder')
  writeFileSync(join(directory, 'disk-0.raw'), 'x'.repeat(8_192))
  writeFileSync(join(directory, 'disk-1.qcow2'), 'x'.repeat(4_096))
  const bytes = (await ownDiskBytes(directory)) ?? 0
  t.ok(bytes >= 12_288 && bytes < 50_000, `${bytes}`)
  t.equal(await ownDiskBytes(join(directory, 'nowhere')), null)
})
