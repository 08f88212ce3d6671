import t from 'tap'
import {
  bootCalls,
  commandArguments,
  loadCall,
  type Machine,
  machineOf,
} from '../../../../lib/hypervisor/firecracker/calls.ts'

const template = { memoryMaxBytes: null, balloon: false, rootfs: null, rootfsReadOnly: false }
const resources = { cpus: 2, memoryBytes: 256 * 2 ** 20, diskBytes: 0 }
const tap = { name: 'tap0', guestMac: '52:54:00:12:34:56' }

const boot = (machine: Machine) => {
  const plan = { machine, kernel: '/k', initrd: '/i', append: 'a=b', tap, metadata: { x: 1 } }
  return bootCalls(plan)
}

t.test('a boot configures everything and starts last', async t => {
  const calls = boot(machineOf(resources, template))
  t.strictSame(
    calls.map(({ method, path }) => `${method} ${path}`),
    [
      'PUT /machine-config',
      'PUT /boot-source',
      'PUT /network-interfaces/eth0',
      'PUT /mmds/config',
      'PUT /mmds',
      'PUT /entropy',
      'PUT /actions',
    ],
  )
  t.match(calls[0]?.body, { vcpu_count: 2, mem_size_mib: 256 })
  const args = String(calls[1]?.body.boot_args)
  t.match(args, /reboot=k .*a=b$/, 'ours, then the template’s')
  t.notMatch(args, /nomodule/, 'Firecracker’s own default would forbid an initial file system its modules')
  t.match(calls[3]?.body, { version: 'V2' }, 'the first version of the metadata service needs no token')
})

t.test('disks are named the same in every directory, because a snapshot’s cannot be told others', async t => {
  for (const rootfsReadOnly of [false, true]) {
    const machine = machineOf(resources, { ...template, rootfs: '/images/root.ext4', rootfsReadOnly })
    const drive = boot(machine).find(({ path }) => path === '/drives/rootfs')
    t.match(drive?.body, { path_on_host: 'disk', is_root_device: true, is_read_only: rootfsReadOnly })
  }
})

t.test('a restore is one call, and names this clone’s TAP device', async t => {
  const { path, body } = loadCall({ name: 'tap7', guestMac: tap.guestMac })
  t.equal(path, '/snapshot/load')
  t.strictSame(body.network_overrides, [{ iface_id: 'eth0', host_dev_name: 'tap7' }])
  t.strictSame(body.mem_backend, { backend_type: 'File', backend_path: 'memory' })
  t.equal(body.resume_vm, false, 'it runs only when its metadata is there')
})

t.test('memory above the first is a region of whole slots', async t => {
  const memoryMaxBytes = 900 * 2 ** 20
  const machine = machineOf({ ...resources, memoryBytes: 500 * 2 ** 20 }, { ...template, memoryMaxBytes })
  t.match(machine, { bootMib: 500, memoryMib: 500, hotplugMib: 512 })
  const call = boot(machine).find(({ path }) => path === '/hotplug/memory')
  t.match(call?.body, { total_size_mib: 512, slot_size_mib: 128 })
  t.throws(() => machineOf({ ...resources, cpus: 33 }, template), { code: 'template_invalid', message: /32/ })
})

t.test('paths are relative and bodies may be as large as an environment', async t => {
  const args = commandArguments('web-op1-1')
  t.equal(
    args[args.indexOf('--api-sock') + 1],
    'api.sock',
    'a longer path than 107 bytes cannot be listened on',
  )
  t.ok(
    Number(args[args.indexOf('--http-api-max-payload-size') + 1]) >= 64 * 4096 * 2,
    'the default is 50 KiB',
  )
})
