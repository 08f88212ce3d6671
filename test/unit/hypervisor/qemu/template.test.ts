import t from 'tap'
import { parseOptions, parseTemplate } from '../../../../lib/hypervisor/qemu/template.ts'

const good = { kernel: '/vmlinuz', initrd: '/initramfs.gz' }

t.test('defaults', async t => {
  t.same(parseTemplate(good), {
    ...good,
    append: '',
    machine: 'pc',
    accelerator: 'auto',
    env: {},
    outbound: false,
    cpusMax: null,
    memoryMaxBytes: null,
    disk: null,
    network: null,
    snapshot: null,
  })
  t.same(parseOptions({}), {
    binary: 'qemu-system-x86_64',
    accelerator: 'auto',
    bootTimeoutMs: 120_000,
    network: 'user',
    pool: { base: 0x64600000, size: 65_536 },
    snapshot: 'auto',
  })
  t.match(parseTemplate({ ...good, cpus_max: 8, memory_max: '2GiB', disk: '/base.qcow2' }), {
    cpusMax: 8,
    memoryMaxBytes: 2 ** 31,
    disk: { base: '/base.qcow2' },
  })
  t.same(parseTemplate({ ...good, disk: true }).disk, { base: null })
})

t.test('each fault names its field and what is wanted', async t => {
  const faults: [Record<string, unknown>, RegExp][] = [
    [{ initrd: '/i' }, /template\.kernel must be the path of a file; .*build-image/],
    [{ kernel: '/k' }, /template\.initrd must be/],
    [{ ...good, kernel: 7 }, /template\.kernel/],
    [{ ...good, append: 'a\nb' }, /template\.append must be one line/],
    [{ ...good, machine: 'microvm' }, /template\.machine must be one of pc, q35/],
    [{ ...good, accelerator: 'hvf' }, /template\.accelerator must be one of auto, kvm, tcg/],
    [{ ...good, env: { 'A-B': '1' } }, /template\.env\.A-B/],
    [{ ...good, env: { A: 1 } }, /template\.env\.A must be a string/],
    [{ ...good, env: [] }, /template\.env must be a map/],
    [{ ...good, outbound: 'yes' }, /template\.outbound must be true or false/],
    [{ ...good, cpus_max: 0 }, /template\.cpus_max must be a whole number/],
    [{ ...good, memory_max: 7 }, /template\.memory_max must be a size/],
    [{ ...good, disk: 3 }, /template\.disk must be true/],
    [{ ...good, network: 'bridge' }, /template\.network must be one of user, namespace/],
    [{ ...good, snapshot: 'fast' }, /template\.snapshot must be one of auto, copy, background/],
    [{ ...good, ram: 1 }, /template\.ram must be left out; known are kernel/],
  ]
  for (const [template, message] of faults) {
    t.throws(() => parseTemplate(template), { code: 'template_invalid', message }, String(message))
  }
})

t.test('options are checked too', async t => {
  for (const options of [
    { binary: '' },
    { accelerator: 'x' },
    { boot_timeout_ms: 5 },
    { directory: '/d' },
    { network: 'x' },
    { network_pool: '10.0.0.0/8' },
    { snapshot: 1 },
  ]) {
    t.throws(() => parseOptions(options), { code: 'invalid_config' }, JSON.stringify(options))
  }
})
