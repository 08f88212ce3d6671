/** Resizing against the double: what is refused first, what is undone, and what is believed only when the guest follows. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Clock } from '../../../../lib/clock.ts'
import { systemClock } from '../../../../lib/clock.ts'
import { apiOf } from '../../../../lib/hypervisor/cloud-hypervisor/vmm.ts'
import { doubleBench } from '../../../support/cloud-hypervisor/bench.ts'
import type { Faults } from '../../../support/cloud-hypervisor/binary.ts'
import type { Bench } from '../../../support/driver-bench.ts'

const MiB = 2 ** 20
const limits = { timeoutMs: 10_000 }
let pace = 1
/** A clock that can be made to run faster, for what waits for a guest in vain. */
const clock: Clock = { ...systemClock, monotonic: () => performance.now() * pace }

const made = (t: Test, faults: Faults): Bench =>
  doubleBench(t, faults, {
    clock,
    template: { cpus_max: 4, memory_max: '640MiB' },
    memoryBytes: 128 * MiB,
    disk: Buffer.alloc(MiB),
  }).bench

const name = 'web-op1-1'
const directoryOf = (bench: Bench) => join(bench.directory, 'instances', name)

t.test('CPUs, memory and disk, up and down, and clones of what was resized', async t => {
  const bench = made(t, { slowCpuRemovals: 2 })
  const { driver, options } = bench
  await bench.running(name)
  const more = { cpus: 3, memoryBytes: 300 * MiB, diskBytes: 2 * MiB }
  const { resources, instance } = await driver.resize(name, more, bench.signal())
  t.same(resources, { cpus: 3, memoryBytes: 384 * MiB, diskBytes: 2 * MiB }, 'memory in steps of 128 MiB')
  t.match(instance, { name, state: 'running' })
  t.equal(statSync(join(directoryOf(bench), 'disk-0.raw')).size, 2 * MiB)
  t.same((await driver.resize(name, more, bench.signal())).resources, resources, 'said again: the same')

  await driver.snapshot({ name: 'web-op1-s', owner: instance.owner, source: name }, bench.signal())
  const spec = { ...bench.cloneSpec('web-op1-2', 'web-op1-s'), resources }
  const clone = await driver.clone(spec, bench.signal())
  await bench.answers(clone)
  const info = await apiOf(join(bench.directory, 'instances', 'web-op1-2'), systemClock).info(limits)
  t.match(info, { memoryActualBytes: 384 * MiB, config: { cpus: { boot_vcpus: 3 } } })

  const back = await driver.resize(name, options.resources, bench.signal())
  t.same(back.resources, { cpus: 1, memoryBytes: 128 * MiB, diskBytes: 2 * MiB }, 'a disk is never shrunk')
})

t.test('what cannot be given is refused before anything is changed', async t => {
  const bench = made(t, {})
  const { driver, options } = bench
  await bench.running(name)
  const refusals = [
    [{ cpus: 5 }, /can have 4 CPUs; set instance.template.cpus_max/],
    [{ cpus: 2, memoryBytes: 641 * MiB }, /set instance.template.memory_max/],
    [{ cpus: 2, memoryBytes: 64 * MiB }, /was made with/],
  ] as const
  for (const [change, message] of refusals) {
    const resize = driver.resize(name, { ...options.resources, ...change }, bench.signal())
    await t.rejects(resize, { code: 'resize_unsupported', message })
  }
  await driver.pause(name)
  const paused = driver.resize(name, { ...options.resources, cpus: 2 }, bench.signal())
  await t.rejects(paused, { code: 'resize_unsupported', message: /resume it first/ })
  const info = await apiOf(directoryOf(bench), systemClock).info(limits)
  t.match(info, { memoryActualBytes: 128 * MiB, config: { cpus: { boot_vcpus: 1 } } }, 'as it was made')
})

t.test('a guest that does not take the memory keeps what it had, CPUs too', async t => {
  const bench = made(t, { guestIgnoresMemory: true })
  await bench.running(name)
  pace = 200
  const more = { ...bench.options.resources, cpus: 2, memoryBytes: 256 * MiB }
  const resize = bench.driver.resize(name, more, bench.signal())
  await t.rejects(resize, { code: 'hypervisor_failed', message: /did not make its memory .* virtio_mem/ })
  const info = await apiOf(directoryOf(bench), systemClock).info(limits)
  t.match(info?.config, { cpus: { boot_vcpus: 1 }, memory: { zones: [{ hotplugged_size: 0 }] } })
  t.equal((await bench.held(name))?.state, 'running')
})
