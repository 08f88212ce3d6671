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
  })
  t.same(parseOptions({}), { binary: 'qemu-system-x86_64', accelerator: 'auto', bootTimeoutMs: 120_000 })
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
    [{ ...good, ram: 1 }, /template\.ram must be left out; known are kernel/],
  ]
  for (const [template, message] of faults) {
    t.throws(() => parseTemplate(template), { code: 'template_invalid', message }, String(message))
  }
})

t.test('options are checked too', async t => {
  for (const options of [{ binary: '' }, { accelerator: 'x' }, { boot_timeout_ms: 5 }, { directory: '/d' }]) {
    t.throws(() => parseOptions(options), { code: 'invalid_config' }, JSON.stringify(options))
  }
})
