/** What the client makes of answers that are late, and of what older versions answer: one hypervisor, no driver. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../../../lib/clock.ts'
import { coldConfig } from '../../../../lib/hypervisor/cloud-hypervisor/vm-config.ts'
import { apiOf, decided, endVmm, startVmm } from '../../../../lib/hypervisor/cloud-hypervisor/vmm.ts'
import { doubleBench } from '../../../support/cloud-hypervisor/bench.ts'
import { doubleBinary, type Faults } from '../../../support/cloud-hypervisor/binary.ts'

const limits = { timeoutMs: 20_000 }
const config = coldConfig(
  { cpus: 1, cpusMax: 1, memoryBytes: 2 ** 26, memoryExtraBytes: 2 ** 27, memoryBacking: 'file', disks: [] },
  { kernel: 'none', append: '' },
  { tap: 'tap0', mac: null },
)

async function vmmOf(t: Test, faults: Faults) {
  const directory = mkdtempSync(join(tmpdir(), 'ch-api-unit-'))
  chmodSync(directory, 0o700)
  const binary = doubleBinary(t, faults)
  const signal = AbortSignal.timeout(60_000)
  const request = { binary, directory, enter: [], timeoutMs: 20_000, signal, started: async () => {} }
  const vmm = await startVmm(request, systemClock)
  t.teardown(async () => {
    await endVmm(directory, vmm.key, 0, systemClock)
    rmSync(directory, { recursive: true, force: true })
  })
  return vmm
}

t.test('an answer that is late is work, and what waits behind it is answered in its turn', async t => {
  const { api } = await vmmOf(t, { slowMs: { 'vm.create': 600 } })
  const short = { timeoutMs: 150 }
  const late = api.create(config, short)
  await t.rejects(late, { code: 'step_timeout', silence: 'still_working', sent: true })
  const ping = api.ping(short)
  await t.rejects(
    ping,
    { code: 'step_timeout', silence: 'still_working' },
    'a ping waits too, and is no death',
  )
  t.match(await api.info(limits), { state: 'Created' }, 'it was done all the same')
})

t.test('an act without an answer is decided by looking, not done again', async t => {
  const { api } = await vmmOf(t, { slowMs: { 'vm.create': 600 } })
  const there = async () => (await api.info(limits)) !== null
  await decided(api.create(config, { timeoutMs: 150 }), there, limits)
  await t.rejects(
    api.create(config, limits),
    { code: 'hypervisor_failed', words: /already created/ },
    'once is enough',
  )
})

t.test('a refusal is an answer', async t => {
  const { api } = await vmmOf(t, { refuse: { 'vm.create': 'there is no room' } })
  const create = decided(api.create(config, limits), async () => true, limits)
  await t.rejects(create, { code: 'hypervisor_failed', answered: 500, words: /no room/ })
})

t.test('before 53: 500 for no VM, and null for what is not set', async t => {
  const { api, version } = await vmmOf(t, { version: '52.0.0' })
  t.equal(version.text, '52.0.0')
  t.equal(await api.info(limits), null, 'a 500 that says that there is none')
  await api.create(config, limits)
  const info = await api.info(limits)
  t.match(info, { state: 'Created', devices: [], config: { disks: null, memory: { hotplugged_size: null } } })
  await api.delete(limits)
  t.equal(await api.info(limits), null)
})

t.test('a device is gone when the guest has let go of it', async t => {
  for (const guestKeepsDevices of [false, true]) {
    const { bench } = doubleBench(t, { guestKeepsDevices })
    const { name } = await bench.driver.create(bench.spec('web-op1-1'), bench.signal())
    const api = apiOf(join(bench.directory, 'instances', name), systemClock)
    t.match(await api.add('net', { id: 'net1', tap: 'tg1' }, limits), { id: 'net1' })
    t.equal(await api.removeDevice('net1', guestKeepsDevices ? 50 : 20_000, limits), !guestKeepsDevices)
    t.equal((await api.info(limits))?.devices.includes('net1'), guestKeepsDevices, 'as it says itself')
  }
})
