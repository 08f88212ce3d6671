/** Resources in the guest, on files as Linux shows them. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { hearLimits, resizeGuest } from '../../../lib/guest/resources.ts'
import { ManualClock } from '../../support/manual-clock.ts'

/** Three processors, the last one not in use; two blocks of memory, the second not in use. */
function guest(t: Test) {
  const root = mkdtempSync(join(tmpdir(), 'tidegate-guest-'))
  t.teardown(() => rmSync(root, { recursive: true }))
  const put = (path: string, text: string) => {
    mkdirSync(join(root, path, '..'), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  put('devices/system/cpu/online', '0-1\n')
  put('devices/system/cpu/cpu0/topology', '')
  put('devices/system/cpu/cpu1/online', '1\n')
  put('devices/system/cpu/cpu2/online', '0\n')
  put('devices/system/cpu/cpufreq/x', '')
  put('devices/system/memory/memory0/state', 'online\n')
  put('devices/system/memory/memory1/state', 'offline\n')
  put('meminfo', 'MemTotal:         1024 kB\nMemFree: 1 kB\n')
  const at = (path: string) => readFileSync(join(root, path), 'utf8').trim()
  const ask = (cpus: unknown, least: unknown = 0) =>
    resizeGuest(JSON.stringify({ cpus, memory_bytes_min: least }), clock, { sys: root, proc: root })
  const clock = new ManualClock()
  return { at, put, ask, clock }
}

t.test('asking changes no processor', async t => {
  const { ask, at } = guest(t)
  t.same(await ask(0), { cpus: 2, memory_bytes: 1024 * 1024, warnings: [] })
  t.equal(at('devices/system/cpu/cpu1/online'), '1')
  t.equal(at('devices/system/memory/memory1/state'), 'online_movable', 'memory that is there is used')
})

t.test('fewer processors', async t => {
  const { ask, at } = guest(t)
  await ask(1)
  t.equal(at('devices/system/cpu/cpu1/online'), '0')
})

t.test('the application hears what it may use', async t => {
  const clock = new ManualClock()
  const body = JSON.stringify({ cpus: 2, memory_bytes: 1024, disk_bytes: 0 })
  const heard: unknown[] = []
  const hook = (resources: unknown) => {
    heard.push(resources)
  }
  t.same(await hearLimits(body, hook, clock), { application: 'acknowledged', warnings: [] })
  t.same(heard, [{ cpus: 2, memoryBytes: 1024, diskBytes: 0, heapBytes: 512 }])
  t.same(await hearLimits(body, null, clock), { application: 'no_hook', warnings: [] })
  const failing = () => {
    throw new Error('no')
  }
  t.match((await hearLimits(body, failing, clock)).warnings, [/resized hook failed: no/])
  const never = hearLimits(body, () => new Promise(() => {}), clock)
  await clock.advance(5_000)
  t.match((await never).warnings, [/did not end within 5000 ms/])
  for (const bad of ['', '[]', '{"cpus":1}', '{"cpus":"1","memory_bytes":1,"disk_bytes":1}'])
    await t.rejects(hearLimits(bad, hook, clock), { code: 'invalid_request' })
})

t.test('what is found a moment later is waited for, and not for ever', async t => {
  const { ask, put, clock } = guest(t)
  const grown = ask(3, 2 * 1024 * 1024)
  put('devices/system/cpu/online', '0,1-2')
  put('meminfo', 'MemTotal: 2048 kB\n')
  await clock.advance(50)
  t.match(await grown, { cpus: 3, memory_bytes: 2 * 1024 * 1024 })
  const never = ask(8)
  await clock.advance(11_000)
  t.match(await never, { cpus: 3 }, 'then the answer says what there is')
})

t.test('nonsense is refused', async t => {
  const { ask } = guest(t)
  for (const cpus of [-1, 1.5, 'two', 5000]) await t.rejects(ask(cpus), { code: 'invalid_request' })
  await t.rejects(ask(1, 'much'), { code: 'invalid_request' })
})
