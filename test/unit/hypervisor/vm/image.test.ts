/** What a VM boots from, good and bad, as each hypervisor takes it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { requireImage as forCloudHypervisor } from '../../../../lib/hypervisor/cloud-hypervisor/check.ts'
import { parseTemplate as parseCloudHypervisor } from '../../../../lib/hypervisor/cloud-hypervisor/template.ts'
import { requireImage as forFirecracker } from '../../../../lib/hypervisor/firecracker/check.ts'
import { parseTemplate as parseFirecracker } from '../../../../lib/hypervisor/firecracker/template.ts'
import { requireImage as forQemu } from '../../../../lib/hypervisor/qemu/image.ts'
import { parseTemplate as parseQemu } from '../../../../lib/hypervisor/qemu/template.ts'
import { hostProcessor, kernelFault, requireMemory } from '../../../../lib/hypervisor/vm/image.ts'
import { arm64Image, bzImage, vmlinux } from '../../../support/boot-files.ts'

const MiB = 2 ** 20
const directory = mkdtempSync(join(tmpdir(), 'tidegate-image-'))
t.teardown(() => rmSync(directory, { recursive: true }))
const put = (name: string, content: Uint8Array | string) => {
  writeFileSync(join(directory, name), content)
  return join(directory, name)
}
const initrd = put('initrd', Buffer.alloc(1024))
const paths = {
  packed: put('bzImage', bzImage()),
  unpacked: put('vmlinux', vmlinux()),
  arm: put('Image', arm64Image()),
  program: put('program', vmlinux({ interpreter: true })),
  text: put('text', 'hello'),
}

t.test('a kernel for another processor is told from one for ours', async t => {
  const riscv = Buffer.alloc(1024)
  riscv.write('RISCV', 48, 'latin1')
  const kinds: [Buffer, RegExp | null][] = [
    [bzImage(), null],
    [vmlinux(), null],
    [arm64Image(), /arm64/],
    [riscv, /RISC-V/],
    [vmlinux({ processor: 183 }), /a kernel for arm64/],
    [vmlinux({ processor: 3, bits: 32 }), /another processor/],
    [vmlinux({ processor: 8 }), /another processor/],
    [vmlinux({ interpreter: true }), /a program and no Linux kernel/],
    [vmlinux().subarray(0, 20), /no Linux kernel/],
    [Buffer.from('not at all'), /no Linux kernel/],
  ]
  for (const [head, kind] of kinds) {
    const fault = kernelFault(head, { processor: 'x86-64', formats: ['bzImage', 'vmlinux'] })
    if (kind === null) t.equal(fault, null)
    else t.match(fault, kind)
  }
})

t.test('each hypervisor has kernels of its own', async t => {
  const drivers = {
    qemu: (kernel: string) => forQemu(parseQemu({ kernel, initrd })),
    cloud_hypervisor: (kernel: string) => forCloudHypervisor(parseCloudHypervisor({ kernel, initrd })),
    firecracker: (kernel: string) => forFirecracker(parseFirecracker({ kernel, initrd }), '1.16.1'),
    'firecracker 1.17': (kernel: string) => forFirecracker(parseFirecracker({ kernel, initrd }), '1.17.0'),
  }
  const taken: Record<keyof typeof drivers, (keyof typeof paths)[]> = {
    qemu: ['packed'],
    cloud_hypervisor: hostProcessor() === 'x86-64' ? ['packed', 'unpacked'] : ['arm'],
    firecracker: hostProcessor() === 'x86-64' ? ['unpacked'] : ['arm'],
    'firecracker 1.17': hostProcessor() === 'x86-64' ? ['packed', 'unpacked'] : ['arm'],
  }
  for (const [driver, look] of Object.entries(drivers)) {
    for (const [name, path] of Object.entries(paths)) {
      const what = `${driver}: ${name}`
      const wanted: readonly string[] = taken[driver as keyof typeof drivers]
      if (wanted.includes(name)) await t.resolves(look(path), what)
      else await t.rejects(look(path), { code: 'template_invalid', message: /kernel: .* is .*; give / }, what)
    }
    await t.rejects(look(join(directory, 'nowhere')), { code: 'image_missing', message: /cannot be read/ })
    await t.rejects(look(directory), { code: 'image_missing', message: /EISDIR/ }, `${driver}: a directory`)
  }
})

t.test('an image that is too large for the memory', async t => {
  const need = await forQemu(parseQemu({ kernel: paths.packed, initrd }))
  t.ok(need > 32 * MiB)
  t.doesNotThrow(() => requireMemory(need, need))
  t.throws(() => requireMemory(16 * MiB, need), {
    code: 'template_invalid',
    message: /instance\.resources\.memory: 16 MiB is too little/,
  })
  if (hostProcessor() !== 'x86-64') return
  const symbols = Buffer.concat([vmlinux({ memoryBytes: 5 * MiB })], 40 * MiB)
  const unpacked = parseFirecracker({ kernel: put('symbols', symbols), initrd })
  t.equal(await forFirecracker(unpacked, null), 37 * MiB + 2048, 'what is there for a debugger is not loaded')
})
