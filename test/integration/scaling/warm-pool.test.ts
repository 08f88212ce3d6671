/** A warm pool of real processes: they stand still until they are taken, and outlive the server. */
import t from 'tap'
import { silentLog } from '../../../lib/log.ts'
import { startServer } from '../../../lib/server.ts'
import { demoCluster } from '../../support/demo-cluster.ts'
import { until } from '../../support/wait.ts'

t.test('kept over a restart, and taken first', async t => {
  const { config } = await demoCluster(t, {
    driver: 'process',
    cloneFrom: 'golden',
    affinity: 'none',
    warmPool: { size: 1 },
  })
  const first = await startServer(config, { log: silentLog })
  const pool = async (server: typeof first) => (await server.control.status('demo')).warm_pool
  await until('one stands ready', async () => (await pool(first))?.ready === 1)
  const [kept] = (await pool(first))!.instances
  const held = async (server: typeof first) =>
    (await server.control.nodes())[0]!.instances.find(({ id }) => id === kept)
  t.match(await held(first), { state: 'paused' })
  t.match(
    (await first.control.metrics()).text,
    /tidegate_warm_pool_instances\{cluster="demo",state="ready"\} 1/,
  )
  t.match(await first.control.status('demo'), { instances: 1, golden: { node: 'local', bytes: Number } })
  const { pid } = (await held(first))!
  await first.close({ graceMs: 0 })

  const second = await startServer(config, { log: silentLog })
  t.teardown(() => second.close({ graceMs: 0 }))
  await until('it is adopted', async () => (await pool(second))?.ready === 1)
  const scale = { kind: 'scale', cluster: 'demo', direction: null, targetCount: 2 } as const
  const result = await second.control.execute({ ...scale, immediate: false, drainConnections: true }, 'test')
  if (result.result !== 'operation') throw new Error('no operation')
  const operation = await second.control.waitOperation(result.operation.id, 300_000)
  t.match(operation, { status: 'completed', error: null, instances: [kept] })
  t.match(await held(second), { state: 'running', pid })
  const backend = second.control.backend('demo', kept!)
  const me = await (await fetch(`http://127.0.0.1:${backend.port}/whoami`)).json()
  t.match(me, { instance_id: kept, incarnation: backend.incarnation }, 'it knows who it is now')
})
