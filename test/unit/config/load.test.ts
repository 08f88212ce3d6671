/** Reading the file: relative paths start at its directory; what cannot be read is a fault. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadConfig, memoryWithin } from '../../../lib/config/load.ts'

t.test('relative paths start at the file, not at the working directory', async t => {
  const directory = t.testdir({
    'tidegate.yaml': 'clusters: [{ id: w, instance: { driver: process } }]',
  })
  const result = await loadConfig(join(directory, 'tidegate.yaml'))
  if ('faults' in result) throw new Error(JSON.stringify(result.faults))
  t.strictSame(result.config.store, { kind: 'sqlite', path: join(directory, 'state/tidegate.db') })
  const [node] = result.config.nodes
  t.equal(node?.directory, join(directory, 'state/local'))
  t.ok((node?.capacity.memoryBytes ?? 0) > 1024 ** 2, "this machine's memory")
  t.ok((node?.capacity.diskBytes ?? 0) > 0, "this machine's disk")
  t.ok(result.config.threads >= 1)
})

t.test('what cannot be read is one fault', async t => {
  const directory = t.testdir({ 'a.yaml': '' })
  t.match(await loadConfig(join(directory, 'b.yaml')), {
    faults: [{ message: /there is no file/, fix: /-c/ }],
  })
  t.match(await loadConfig(directory), { faults: [{ message: /is a directory/ }] })
  writeFileSync(join(directory, 'a.yaml'), Buffer.alloc(4_000_001, 32))
  t.match(await loadConfig(join(directory, 'a.yaml')), { faults: [{ message: /4000001 bytes/ }] })
})

t.test('a control group may leave less than the machine has', async t => {
  const machine = 24 * 1024 ** 3
  t.equal(memoryWithin(machine, 512 * 1024 ** 2), 512 * 1024 ** 2)
  t.equal(memoryWithin(machine, 0), machine, 'nothing is known')
  t.equal(memoryWithin(machine, 2 ** 64), machine, 'no limit')
})
