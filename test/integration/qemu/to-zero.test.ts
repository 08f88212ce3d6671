/** Scale from zero on a real VM: a request finds nobody, a golden clone is restored, and the request is answered by it. */
import t from 'tap'
import { silentLog } from '../../../lib/log.ts'
import { startServer } from '../../../lib/server.ts'
import { demoCluster } from '../../support/demo-cluster.ts'
import { until } from '../../support/wait.ts'

t.test('a waiting request is answered by a golden clone', async t => {
  const { config } = await demoCluster(t, {
    driver: 'qemu',
    affinity: 'none',
    cloneFrom: 'golden',
    healthyThreshold: 1,
    warmRequests: [{ path: '/' }, { method: 'POST', path: '/sessions/warm' }],
    scaleToZero: { idle_after: '2s', wait_timeout: '180s' },
  })
  const server = await startServer(config, { log: silentLog })
  t.teardown(() => server.close({ graceMs: 0 }))
  const port = server.listeners[0]!.port
  const members = () => server.control.backends('demo')
  const asked = async (path: string, init?: RequestInit) => {
    const startedAt = performance.now()
    const { status } = await fetch(`http://127.0.0.1:${port}${path}`, init)
    t.comment(`${path}: ${status} after ${Math.round(performance.now() - startedAt)} ms`)
    return status
  }
  t.equal(await asked('/sessions/warm'), 200, 'a cold boot, warmed before it was saved')
  t.equal(await asked('/sessions/anna', { method: 'POST', body: 'a client' }), 200)
  const [first] = members()

  await until('nobody is left', () => members().length === 0)
  t.equal(await asked('/sessions/warm'), 200, 'a clone of the golden snapshot')
  t.equal(await asked('/sessions/anna'), 404, 'it was saved before any client came')
  const [second] = members()
  t.not(second!.incarnation, first!.incarnation)
  const [operation] = await server.control.operations({ limit: 1 })
  for (const { step, duration_ms: took } of operation!.steps) t.comment(`${step}: ${took} ms`)
  const identified = operation!.steps.find(({ step }) => step === 'identify')?.data
  t.match(identified, { items: [{ application: 'acknowledged' }] })
})
