/** Files that a VM starts from, good and bad: kernels and disks. */
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { makeImage, readBase } from '../../../../lib/hypervisor/qemu/disks.ts'
import { requireImage } from '../../../../lib/hypervisor/qemu/image.ts'
import { machineFor } from '../../../../lib/hypervisor/qemu/machine.ts'
import { emptyImage, readImageHead } from '../../../../lib/hypervisor/qemu/qcow2.ts'
import { parseTemplate } from '../../../../lib/hypervisor/qemu/template.ts'
import { bzImage } from '../../../support/boot-files.ts'

const directory = mkdtempSync(join(tmpdir(), 'tidegate-files-'))
t.teardown(() => rmSync(directory, { recursive: true }))
const put = (name: string, content: Uint8Array | string) => {
  writeFileSync(join(directory, name), content)
  return join(directory, name)
}

t.test('an image that is missing, empty, or no kernel', async t => {
  const initrd = put('initrd', Buffer.alloc(1024))
  const template = (kernel: string, init = initrd) => parseTemplate({ kernel, initrd: init })
  const good = await requireImage(template(put('vmlinuz', bzImage())))
  t.ok(good > 32 * 2 ** 20)
  const nowhere = requireImage(template(join(directory, 'nowhere')))
  await t.rejects(nowhere, { code: 'image_missing', message: /nowhere cannot be read; .*build-image/ })
  const empty = requireImage(template(join(directory, 'vmlinuz'), put('empty', '')))
  await t.rejects(empty, { code: 'image_missing', message: /it is empty/ })
  const foreign = requireImage(template(put('text', 'hello')))
  await t.rejects(foreign, {
    code: 'template_invalid',
    message: /instance\.template\.kernel: .*no Linux kernel/,
  })
})

t.test('a disk on top of another has its size and its name', async t => {
  const base = await makeImage(directory, 2 ** 30, null)
  t.match(await readBase(join(directory, base)), { format: 'qcow2', bytes: 2 ** 30 })
  t.ok(statSync(join(directory, base)).blocks * 512 < 2 ** 17, 'which takes next to no space')
  const { pieces } = emptyImage(5 * 2 ** 40, { path: base, format: 'qcow2' })
  const [header] = pieces
  const at = Number(header!.data.readBigUInt64BE(8))
  t.equal(header!.data.subarray(at, at + header!.data.readUInt32BE(16)).toString(), base)
  t.same(readImageHead(header!.data, 0), { format: 'qcow2', bytes: 5 * 2 ** 40 })
  t.same(readImageHead(Buffer.from('raw'), 512), { format: 'raw', bytes: 512 })
  t.throws(() => emptyImage(1, { path: 'x'.repeat(2000), format: 'raw' }), { code: 'template_invalid' })
  await t.rejects(readBase(join(directory, 'nowhere')), { code: 'image_missing' })
  await t.rejects(readBase(put('hole', '')), { code: 'template_invalid', message: /is no disk image/ })
})

t.test('too little disk, and limits below the start', async t => {
  const resources = { cpus: 2, memoryBytes: 2 ** 28, diskBytes: 2 ** 20 }
  const make = (more: Record<string, unknown>, baseBytes = 0) =>
    machineFor(resources, parseTemplate({ kernel: '/k', initrd: '/i', ...more }), 'tcg', baseBytes)
  t.match(make({}), { cpusMax: 4, memoryMaxBytes: 2 ** 29, diskBytes: null })
  t.match(make({ disk: true }), { diskBytes: 2 ** 20 })
  t.throws(() => make({ disk: '/base' }, 2 ** 30), { message: /instance\.resources\.disk must be at least/ })
  t.throws(() => make({ cpus_max: 1 }), { message: /cpus_max must be at least/ })
  t.throws(() => make({ memory_max: '128MiB' }), { message: /memory_max must be at least/ })
})
