import t from 'tap'
import { commandLine, memoryFiles } from '../../../../lib/hypervisor/qemu/command-line.ts'
import { type Machine, nothingAdded } from '../../../../lib/hypervisor/qemu/machine.ts'
import { environmentFile } from '../../../../lib/hypervisor/vm/environment.ts'

const machine: Machine = {
  kind: 'pc',
  accelerator: 'tcg',
  cpus: 2,
  memoryBytes: 384 * 2 ** 20,
  outbound: false,
  cpusMax: 4,
  memoryMaxBytes: 768 * 2 ** 20,
  added: nothingAdded,
  diskBytes: null,
}
const boot = {
  from: 'boot',
  kernel: '/k,1',
  initrd: '/i',
  append: 'debug',
  memory: 'shared',
  disk: null,
} as const
const clone = { from: 'clone', disk: null } as const
const user = { forwards: [{ hostPort: 20_001, guestPort: 8080 }], tap: null }
const none = { forwards: [], tap: null }

const after = (args: readonly string[], option: string) => args[args.indexOf(option) + 1]

t.test('a boot has shared memory, a kernel, and a console in a file', async t => {
  const args = commandLine('web-1', machine, boot, user)
  t.match(after(args, '-object'), /mem-path=ram,share=on$/)
  t.equal(after(args, '-kernel'), '/k,1')
  const append = 'console=ttyS0 quiet panic=-1 memhp_default_state=online_movable'
  const own = machine.accelerator === 'tcg' ? ' tsc=reliable mitigations=off' : ''
  t.equal(after(args, '-append'), `${append}${own} debug`)
  t.match(after(args, '-chardev'), /^file,/)
  t.equal(args.includes('-incoming'), false)
})

t.test('a clone has private memory, waits for its state, and needs no kernel', async t => {
  const args = commandLine('web-2', machine, clone, user)
  t.match(after(args, '-object'), /mem-path=ram,share=off$/)
  t.equal(after(args, '-incoming'), 'defer')
  t.equal(args.includes('-kernel'), false)
  t.match(after(args, '-chardev'), /^ringbuf,/)
})

t.test('a rebase writes its memory into a file and forwards nothing', async t => {
  const args = commandLine('snap', machine, { from: 'rebase' }, none)
  t.match(after(args, '-object'), /share=on$/)
  t.notMatch(after(args, '-netdev'), /hostfwd/)
  t.ok(args.includes('-S'))
})

t.test('ports are reached from this machine only, and the guest reaches nothing unless it may', async t => {
  const closed = after(commandLine('a', machine, boot, user), '-netdev')
  t.match(closed, /restrict=on/)
  t.match(closed, /hostfwd=tcp:127\.0\.0\.1:20001-10\.0\.2\.15:8080/)
  const open = after(commandLine('a', { ...machine, outbound: true }, boot, user), '-netdev')
  t.match(open, /restrict=off/)
})

t.test('all three make the same machine', async t => {
  const same = ['-machine', '-accel', '-cpu', '-smp', '-m', '-fw_cfg']
  const all = [boot, clone, { from: 'rebase' } as const].map(start => commandLine('a', machine, start, none))
  for (const option of same) t.equal(new Set(all.map(args => after(args, option))).size, 1, option)
})

t.test('what was plugged in is on the command line of clones, in the same places', async t => {
  const grown = { ...machine, added: { cpus: 1, dimmBytes: [2 ** 27, 2 ** 28] }, diskBytes: 2 ** 30 }
  const args = commandLine('a', grown, { from: 'clone', disk: 'disk-1.qcow2' }, none).join(' ')
  t.match(args, /-smp 2,maxcpus=4,sockets=1,cores=4,threads=1 -m size=402653184B,slots=16,maxmem=805306368B/)
  t.match(args, /-device qemu64-x86_64-cpu,id=cpu2,socket-id=0,core-id=2,thread-id=0/)
  t.match(args, /memory-backend-file,id=dimm1,size=268435456,mem-path=dimm1,share=off/)
  t.match(args, /-device pc-dimm,id=dimm1-module,memdev=dimm1,slot=1/)
  t.match(args, /"filename":"disk-1\.qcow2"\}\} -device virtio-blk-pci,drive=disk,id=disk0/)
  t.same(memoryFiles(grown), ['ram', 'dimm0', 'dimm1'])
  t.match(commandLine('a', grown, { from: 'rebase' }, none).join(' '), /"driver":"null-co"/)
  const still = commandLine('a', { ...machine, memoryMaxBytes: machine.memoryBytes }, boot, none)
  t.equal(after(still, '-m'), 'size=402653184B', 'no room for modules where none may be added')
})

t.test('memory in no file, and a TAP', async t => {
  const args = commandLine(
    'a',
    machine,
    { ...boot, memory: 'anonymous' },
    { ...none, tap: { name: 'tap0', guestMac: 'm' } },
  )
  t.match(after(args, '-object'), /^memory-backend-ram,/)
  t.match(after(args, '-netdev'), /^tap,id=net,ifname=tap0,script=no,downscript=no,vnet_hdr=off$/)
  t.match(args.join(' '), /-netdev user,id=idle,ipv6=off,restrict=on /, 'its part of every state')
})

t.test('no secret and no environment is on the command line', async t => {
  t.notMatch(commandLine('a', machine, boot, user).join(' '), /token/i)
})

t.test('the environment file survives a shell', async t => {
  t.equal(environmentFile({ A: "it's $HOME `x`", B: '' }), "A='it'\\''s $HOME `x`'\nB=''\n")
})
