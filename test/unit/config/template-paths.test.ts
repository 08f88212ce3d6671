import t from 'tap'
import { withAbsolutePaths } from '../../../lib/config/template-paths.ts'

const absolute = (path: string) =>
  path.startsWith('/') ? path : path === '.' ? '/etc/tidegate' : `/etc/tidegate/${path}`

t.test('a process starts beside the config file unless it says where', async t => {
  const command = ['node', 'app.js']
  t.strictSame(withAbsolutePaths('process', { command }, absolute), { cwd: '/etc/tidegate', command })
  t.strictSame(withAbsolutePaths('process', { command, cwd: 'app' }, absolute), {
    cwd: '/etc/tidegate/app',
    command,
  })
  t.strictSame(withAbsolutePaths('process', { command, cwd: '/srv' }, absolute), { cwd: '/srv', command })
})

t.test('the images of a VM are found beside the config file', async t => {
  t.strictSame(
    withAbsolutePaths(
      'qemu',
      { kernel: 'vmlinuz', initrd: '/images/initramfs.gz', append: 'quiet' },
      absolute,
    ),
    {
      kernel: '/etc/tidegate/vmlinuz',
      initrd: '/images/initramfs.gz',
      append: 'quiet',
    },
  )
})

t.test('what is not a text is left for the driver to refuse', async t => {
  t.strictSame(withAbsolutePaths('qemu', { kernel: 7 }, absolute), { kernel: 7 })
})
