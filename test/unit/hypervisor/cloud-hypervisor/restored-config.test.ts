/** A snapshot's two documents made into a clone's: what must change, changes, and nothing else. */
import t from 'tap'
import {
  restoredConfig,
  stateOfMappedMemory,
} from '../../../../lib/hypervisor/cloud-hypervisor/restored-config.ts'

const nic = { tap: 'tap0', mac: '52:54:00:12:34:56' }
const zone = { id: 'mem0', size: 402653184, file: 'ram', shared: true, prefault: false }
const config = {
  cpus: { boot_vcpus: 1, max_vcpus: 4, of_a_later_version: { deep: [1, null, 'x'] } },
  memory: { size: 0, hotplug_method: 'Acpi', zones: [zone] },
  payload: { kernel: '/k', cmdline: 'quiet', initramfs: 'initramfs' },
  disks: [
    { id: 'disk0', path: '/elsewhere/a.raw', readonly: false, num_queues: 1 },
    { id: 'disk1', path: '/images/b.raw', readonly: true },
  ],
  net: [{ id: 'net0', tap: 'old', mac: '00:00:00:00:00:01', host_mac: '00:00:00:00:00:02', mtu: 1500 }],
  serial: { mode: 'File', file: '/elsewhere/serial.log' },
  console: { mode: 'Off' },
  vsock: { cid: 3, socket: '/elsewhere/vsock.sock' },
  unknown_of_a_later_version: { kept: true },
}

const restored = (value: unknown, memoryIsFile = true) =>
  JSON.parse(restoredConfig(typeof value === 'string' ? value : JSON.stringify(value), { nic, memoryIsFile }))

t.test('paths, TAP, MAC and memory are the clone’s own; every other key is kept', async t => {
  t.same(restored(config), {
    ...config,
    memory: { ...config.memory, zones: [{ ...zone, file: 'ram', shared: false }] },
    payload: { kernel: '/k', cmdline: 'quiet' },
    disks: [{ ...config.disks[0], path: 'disk-0.raw' }, config.disks[1]],
    net: [{ id: 'net0', tap: 'tap0', mac: nic.mac, mtu: 1500 }],
    serial: { mode: 'File', file: 'serial.log' },
    vsock: { cid: 3, socket: 'vsock.sock' },
  })
})

t.test('a shared zone is never written through: memory that is read from a dump is in no file', async t => {
  const { memory } = restored(config, false)
  t.same(memory.zones, [{ id: 'mem0', size: 402653184, shared: false, prefault: false }])
  t.same(restored({ memory: { size: 5 } }, false).memory, { size: 5 })
})

t.test('numbers keep all their digits', async t => {
  const text =
    '{"memory":{"zones":[{"id":"m"}]},"a":18446744073709551615,"b":[1.0,-0,9007199254740993],"c":1e3}'
  const written = restoredConfig(text, { nic, memoryIsFile: true })
  t.match(written, /"a":18446744073709551615/)
  t.match(written, /"b":\[1\.0,-0,9007199254740993\],"c":1e3/)
})

t.test('null, for what a version leaves out, is nothing', async t => {
  const nulls = { memory: { zones: null }, net: null, disks: null, serial: null, vsock: null, payload: null }
  t.same(restored(nulls, false), nulls)
})

t.test('what is no configuration of ours is refused in words', async t => {
  const refused = { code: 'snapshot_failed', message: /config\.json cannot be used/ }
  const [a, b] = [{ id: 'a' }, { id: 'b' }]
  for (const bad of ['', '{', '[]', 'null', '{"memory":{}}', JSON.stringify({ memory: { zones: [a, b] } })]) {
    t.throws(() => restoredConfig(bad, { nic, memoryIsFile: true }), refused, bad)
  }
})

const mapping = { slot: 0, gpa: 0, size: 300, zone_id: 'mem0', virtio_mem: false, file_offset: 0 }
const high = { ...mapping, slot: 1, gpa: 4294967296, size: 100, file_offset: 300 }
const stateText = (data: unknown, mappings: unknown) => {
  const memory = {
    memory_ranges: { data },
    guest_ram_mappings: mappings,
    boot_ram: 18446744073709551615n.toString(),
  }
  const inner = JSON.stringify(memory).replace(/"(18446744073709551615)"/, '$1')
  const manager = { snapshots: {}, snapshot_data: { state: inner } }
  return JSON.stringify({ snapshots: { 'memory-manager': manager, other: { kept: 1 } }, snapshot_data: null })
}
const ranges = (text: string) => {
  const inner = JSON.parse(text).snapshots['memory-manager'].snapshot_data.state
  return { data: JSON.parse(inner).memory_ranges.data, inner }
}

t.test('a dump that is the memory, end to end, is mapped instead of read', async t => {
  const saved = [
    { gpa: 0, length: 300 },
    { gpa: 4294967296, length: 100 },
  ]
  const state = stateOfMappedMemory(stateText(saved, [mapping, high]))!
  t.same(ranges(state).data, [])
  t.match(ranges(state).inner, /"boot_ram":18446744073709551615/, 'with all digits, in a text in a text')
  t.match(JSON.parse(state), { snapshots: { other: { kept: 1 } }, snapshot_data: null })
  const pluggable = { ...mapping, slot: 2, gpa: 8589934592, size: 500, virtio_mem: true }
  t.ok(stateOfMappedMemory(stateText(saved, [mapping, high, pluggable])), 'nothing of it is plugged in')
})

t.test('a dump of another layout is left to be read', async t => {
  const range = { gpa: 0, length: 300 }
  const others: Record<string, [unknown, unknown]> = {
    'nothing was dumped': [[], [mapping]],
    'plugged-in memory': [
      [range, { gpa: 8589934592, length: 128 }],
      [mapping, { ...high, virtio_mem: true }],
    ],
    'another order': [
      [{ gpa: 4294967296, length: 100 }, range],
      [mapping, high],
    ],
    'a part only': [[range], [mapping, high]],
    'another length': [[{ gpa: 0, length: 299 }], [mapping]],
    'another offset': [[range], [{ ...mapping, file_offset: 4096 }]],
    'another shape': [{}, [mapping]],
    'no mappings': [[range], null],
  }
  for (const [name, [data, mappings]] of Object.entries(others)) {
    t.equal(stateOfMappedMemory(stateText(data, mappings)), null, name)
  }
  t.equal(stateOfMappedMemory('{"snapshots":{}}'), null, 'a state of another version')
  t.throws(() => stateOfMappedMemory('nonsense'), { code: 'snapshot_failed' })
})
