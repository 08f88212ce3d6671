import t from 'tap'
import { commandLine, environmentFile, type Machine } from '../../../../lib/hypervisor/qemu/command-line.ts'

const machine: Machine = {
  kind: 'pc',
  accelerator: 'tcg',
  cpus: 2,
  memoryBytes: 384 * 2 ** 20,
  outbound: false,
}
const boot = { from: 'boot', kernel: '/k,1', initrd: '/i', append: 'debug' } as const
const forwards = [{ hostPort: 20_001, guestPort: 8080 }]

const after = (args: readonly string[], option: string) => args[args.indexOf(option) + 1]

t.test('a boot has shared memory, a kernel, and a console in a file', async t => {
  const args = commandLine('web-1', machine, boot, forwards)
  t.match(after(args, '-object'), /mem-path=ram,share=on$/)
  t.equal(after(args, '-kernel'), '/k,1')
  t.equal(after(args, '-append'), 'console=ttyS0 quiet panic=-1 debug')
  t.match(after(args, '-chardev'), /^file,/)
  t.equal(args.includes('-incoming'), false)
})

t.test('a clone has private memory, waits for its state, and needs no kernel', async t => {
  const args = commandLine('web-2', machine, { from: 'clone' }, forwards)
  t.match(after(args, '-object'), /mem-path=ram,share=off$/)
  t.equal(after(args, '-incoming'), 'defer')
  t.equal(args.includes('-kernel'), false)
  t.match(after(args, '-chardev'), /^ringbuf,/)
})

t.test('a rebase writes its memory into a file and forwards nothing', async t => {
  const args = commandLine('snap', machine, { from: 'rebase' }, [])
  t.match(after(args, '-object'), /share=on$/)
  t.notMatch(after(args, '-netdev'), /hostfwd/)
  t.ok(args.includes('-S'))
})

t.test('ports are reached from this machine only, and the guest reaches nothing unless it may', async t => {
  const closed = after(commandLine('a', machine, boot, forwards), '-netdev')
  t.match(closed, /restrict=on/)
  t.match(closed, /hostfwd=tcp:127\.0\.0\.1:20001-10\.0\.2\.15:8080/)
  const open = after(commandLine('a', { ...machine, outbound: true }, boot, forwards), '-netdev')
  t.match(open, /restrict=off/)
})

t.test('all three make the same machine', async t => {
  const same = ['-machine', '-accel', '-cpu', '-smp', '-m', '-fw_cfg']
  const all = [boot, { from: 'clone' } as const, { from: 'rebase' } as const].map(start =>
    commandLine('a', machine, start, []),
  )
  for (const option of same) t.equal(new Set(all.map(args => after(args, option))).size, 1, option)
})

t.test('no secret and no environment is on the command line', async t => {
  t.notMatch(commandLine('a', machine, boot, forwards).join(' '), /token/i)
})

t.test('the environment file survives a shell', async t => {
  t.equal(environmentFile({ A: "it's $HOME `x`", B: '' }), "A='it'\\''s $HOME `x`'\nB=''\n")
})
