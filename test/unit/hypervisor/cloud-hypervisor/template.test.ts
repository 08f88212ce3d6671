import t from 'tap'
import { parseOptions, parseTemplate } from '../../../../lib/hypervisor/cloud-hypervisor/template.ts'

const image = { kernel: '/k', initrd: '/i' }

t.test('defaults', async t => {
  const template = parseTemplate(image)
  t.match(template, { ...image, append: '', env: {}, disks: [], memoryBacking: 'file', restore: 'auto' })
  t.match(template, { cpusMax: null, memoryMaxBytes: null })
  t.match(parseOptions({}), { binary: 'cloud-hypervisor', bootTimeoutMs: 120_000 })
})

t.test('all that can be said', async t => {
  const said = {
    ...{
      ...image,
      append: 'quiet',
      env: { A: 'b' },
      disks: [{ path: 'd.raw' }, { path: 'e.raw', readonly: true }],
    },
    ...{ cpus_max: 4, memory_max: '2GiB', memory_backing: 'anonymous', restore: 'on_demand' },
  }
  t.match(parseTemplate(said), {
    disks: [
      { path: 'd.raw', readonly: false },
      { path: 'e.raw', readonly: true },
    ],
    ...{ cpusMax: 4, memoryMaxBytes: 2 ** 31, memoryBacking: 'anonymous', restore: 'on_demand' },
  })
})

t.test('what is wrong is named with its field and the fix', async t => {
  const faults: [Record<string, unknown>, RegExp][] = [
    [{ initrd: '/i' }, /instance\.template\.kernel must be the path/],
    [{ ...image, machine: 'q35' }, /template\.machine must be left out; known are kernel/],
    [{ ...image, disks: 'd.raw' }, /template\.disks must be a list/],
    [{ ...image, disks: [{ path: 'd', size: 1 }] }, /disks\[0\]\.size must be left out/],
    [{ ...image, disks: ['d'] }, /disks\[0\] must be as/],
    [{ ...image, cpus_max: 0 }, /cpus_max must be a whole number, 1 to 254/],
    [{ ...image, memory_max: 5 }, /memory_max must be a size: write `5MiB`/],
    [{ ...image, restore: 'mmap' }, /restore must be one of auto, copy, on_demand, copy_on_write/],
    [{ ...image, memory_backing: 'huge' }, /memory_backing must be one of file, anonymous/],
    [{ ...image, env: { 'A-B': '' } }, /env\.A-B must be a name/],
    [{ ...image, append: 'a\nb' }, /append must be one line/],
  ]
  for (const [raw, message] of faults) {
    t.throws(() => parseTemplate(raw), { code: 'template_invalid', message }, String(message))
  }
  const options: [Record<string, unknown>, RegExp][] = [
    [{ binary: '' }, /options\.binary must be/],
    [{ boot_timeout_ms: 1 }, /boot_timeout_ms must be a whole number/],
    [{ network_pool: '10.0.0.0/8' }, /network_pool must be an IPv4 network/],
    [{ accelerator: 'kvm' }, /accelerator must be left out/],
  ]
  for (const [raw, message] of options) {
    t.throws(() => parseOptions(raw), { code: 'invalid_config', message }, String(message))
  }
})
