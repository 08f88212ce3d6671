/** How a clone gets its memory, on the driver: each mode by its version, what is measured of it, and what is refused. */
import t, { type Test } from 'tap'
import type { Driver } from '../../../lib/hypervisor/driver.ts'
import type { Log } from '../../../lib/log.ts'
import { doubleBench } from '../../support/cloud-hypervisor/bench.ts'
import { doubleBinary, type Faults } from '../../support/cloud-hypervisor/binary.ts'
import { ask, owner, told } from '../../support/driver-bench.ts'

const memoryBytes = 256 * 2 ** 20
const name = 'web-op1-1'
const snapshot = { name: 'web-op1-s', owner, source: name }

interface Said {
  readonly level: 'info' | 'warn'
  readonly text: string
  readonly mode?: string
  readonly resident_bytes?: number
}

/** A driver whose log is heard, and the snapshot of a VM that has a session in memory, which is in no file. */
async function saved(t: Test, version: string) {
  const heard: Said[] = []
  const hear = (level: Said['level']) => (fields: object, text: string) =>
    void heard.push({ level, text, ...fields })
  const log = { child: () => log, info: hear('info'), warn: hear('warn') } as unknown as Log
  const template = { memory_backing: 'anonymous' }
  const { bench, driverOf } = doubleBench(t, { version }, { template, memoryBytes, log })
  const source = await bench.running(name)
  await ask(source, '/sessions/kept', 'in memory')
  await bench.driver.snapshot(snapshot, bench.signal())
  return {
    bench,
    /** The same hypervisor, misbehaving. */
    faulty: (faults: Faults) => driverOf(bench.directory, doubleBinary(t, { version, ...faults })),
    clone: (name: string, driver: Driver = bench.driver, restore = 'auto') => {
      const spec = bench.cloneSpec(name, snapshot.name)
      return driver.clone({ ...spec, template: { ...spec.template, restore } }, bench.signal())
    },
    /** What was said of the last restore. */
    restored: () => heard.findLast(({ mode }) => mode !== undefined) as Required<Said>,
  }
}

t.test('54: copy on write, or what it becomes in silence, which is measured and told', async t => {
  const { bench, clone, faulty, restored } = await saved(t, '54.0.0')
  const lazy = await clone('web-op1-2')
  await bench.answers(lazy)
  t.match(await told(lazy, '/sessions/kept'), { value: 'in memory' })
  t.match(restored(), { level: 'info', mode: 'copy_on_write', text: 'restored', instance: lazy.name })
  t.ok(restored().resident_bytes < memoryBytes, `${restored().resident_bytes} bytes are resident`)
  await bench.driver.destroy(lazy.name)

  const eager = await clone('web-op1-3', faulty({ eager: true }))
  await bench.answers(eager)
  const text = 'the whole memory was read although it should be shared'
  t.match(restored(), { level: 'warn', mode: 'copy_on_write', text, instance: eager.name })
  t.ok(restored().resident_bytes > memoryBytes, `${restored().resident_bytes} bytes are resident`)
})

t.test('53: copies, and on demand only when told to; then it saves nothing until all is there', async t => {
  const { bench, clone, faulty, restored } = await saved(t, '53.0.0')
  const copy = await clone('web-op1-2')
  await bench.answers(copy)
  t.match(await told(copy, '/sessions/kept'), { value: 'in memory' })
  t.match(restored(), { level: 'info', mode: 'copy', text: 'restored' }, 'as was meant, and no warning')
  t.ok(restored().resident_bytes > memoryBytes, `${restored().resident_bytes} bytes are resident`)
  await bench.driver.destroy(copy.name)

  const filling = await clone('web-op1-3', bench.driver, 'on_demand')
  t.match(restored(), { level: 'info', mode: 'on_demand' })
  t.ok(restored().resident_bytes < memoryBytes, `${restored().resident_bytes} bytes are resident`)
  const second = { ...snapshot, name: 'web-op2-s', source: filling.name }
  const taken = bench.driver.snapshot(second, bench.signal())
  await t.rejects(taken, { code: 'hypervisor_failed', message: /memory restore is still in progress/ })
  t.equal((await bench.held(filling.name))?.state, 'running', 'it runs on')
  await bench.answers(filling)
  t.notOk(bench.files('snapshots').some(file => file.startsWith('web-op2-s')))

  const processes = bench.processes().length
  const refused = clone('web-op1-4', faulty({ refuse: { 'vm.restore': 'CPUID is not compatible' } }))
  await t.rejects(refused, { code: 'hypervisor_failed', message: /vm\.restore \(500\): .*CPUID is not/ })
  const unknown = clone('web-op1-4', bench.driver, 'copy_on_write')
  await t.rejects(unknown, { code: 'template_invalid', message: /copy_on_write needs Cloud Hypervisor 54/ })
  t.equal(await bench.held('web-op1-4'), undefined)
  t.equal(bench.processes().length, processes, 'no process is left')
  const [held] = (await bench.driver.inspect()).snapshots
  t.match(held, { name: snapshot.name, complete: true }, 'the snapshot is as it was')
})
