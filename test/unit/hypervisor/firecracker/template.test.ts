import t from 'tap'
import { parseOptions, parseTemplate } from '../../../../lib/hypervisor/firecracker/template.ts'

const good = { kernel: 'vmlinux', initrd: 'initramfs.gz' }

t.test('defaults', async t => {
  t.match(parseTemplate(good), {
    ...{ rootfs: null, rootfsReadOnly: false, append: '', env: {}, outbound: false },
    ...{ memoryMaxBytes: null, balloon: false, sparseSnapshots: false },
  })
  t.equal(parseTemplate({ ...good, memory_max: '2GiB' }).memoryMaxBytes, 2 * 2 ** 30)
  t.match(parseOptions({}), { binary: 'firecracker', bootTimeoutMs: 120_000, networkPool: { size: 65_536 } })
})

t.test('a fault names its field and the fix', async t => {
  const faults: [Record<string, unknown>, string, RegExp][] = [
    [{ kernel: 'vmlinux' }, 'initrd', /rootfs/],
    [{ initrd: 'x' }, 'kernel', /path of a file/],
    [{ ...good, memory_backend: 'uffd' }, 'memory_backend', /dies stands still for ever/],
    [{ ...good, huge_pages: '2M' }, 'huge_pages', /only through userfaultfd/],
    [{ ...good, memory_max: 512 }, 'memory_max', /no unit/],
    [{ ...good, append: 'a\nb' }, 'append', /one line/],
    [{ ...good, balloon: 'yes' }, 'balloon', /true or false/],
    [{ ...good, env: { 'A-B': 'x' } }, 'env.A-B', /a name of/],
    [{ ...good, vsock: true }, 'vsock', /left out; known are/],
  ]
  for (const [template, field, message] of faults) {
    const details = { field: `instance.template.${field}` }
    t.throws(() => parseTemplate(template), { code: 'template_invalid', message, details }, field)
  }
  t.throws(() => parseOptions({ boot_timeout_ms: 1 }), { code: 'invalid_config', message: /1000 to 3600000/ })
  t.throws(() => parseOptions({ network_pool: 'x' }), { code: 'invalid_config', message: /network_pool/ })
})
