/** Golden clones with real processes behind a real front door: warmed before they are saved, and nothing of the traffic in them. */
import t from 'tap'
import { silentLog } from '../../../lib/log.ts'
import { startServer } from '../../../lib/server.ts'
import { demoCluster } from '../../support/demo-cluster.ts'
import { get } from '../../support/load.ts'
import { until } from '../../support/wait.ts'

t.test('clones have what the warm requests left, and nothing of the clients', async t => {
  const { config } = await demoCluster(t, {
    driver: 'process',
    cloneFrom: 'golden',
    warmRequests: [{ method: 'POST', path: '/sessions/warm' }, { path: '/healthz' }],
  })
  const server = await startServer(config, { log: silentLog })
  t.teardown(() => server.close({ graceMs: 0 }))
  const ready = () => server.control.backends('demo').filter(({ state }) => state === 'ready')
  // It serves before its operation has written its end, and there is one operation at a time.
  const begun = async () => (await server.control.operations({ limit: 1 }))[0]?.status === 'completed'
  await until('the first instance serves', async () => ready().length === 1 && (await begun()))
  const [first] = ready()
  t.equal((await get(server.listeners[0]!.port, '/sessions/anna', { method: 'POST', body: 'x' })).status, 200)

  const scale = { kind: 'scale', cluster: 'demo', direction: null, targetCount: 3 } as const
  const command = { ...scale, immediate: false, drainConnections: true }
  const result = await server.control.execute(command, 'test')
  if (result.result !== 'operation') throw new Error('no operation')
  const operation = await server.control.waitOperation(result.operation.id, 300_000)
  t.match(operation, { status: 'completed', error: null })
  const clones = ready().filter(({ id }) => id !== first!.id)
  t.equal(clones.length, 2)
  for (const { port } of clones) {
    t.equal((await get(port, '/sessions/warm')).status, 200, 'warmed')
    t.equal((await get(port, '/sessions/anna')).status, 404, 'no client of the first is known')
  }
  const plan = operation.steps.find(({ step }) => step === 'plan')
  t.match(plan?.data, { mode: 'golden' })
})
