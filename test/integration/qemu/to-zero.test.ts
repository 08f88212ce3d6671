/**
 * Scale from zero on a real VM: a request finds nobody, a golden clone is restored, and the request is answered by it. Then
 * other resources for that clone through the API, which its application hears of.
 */
import t, { type Test } from 'tap'
import { silentLog } from '../../../lib/log.ts'
import { type Server, startServer } from '../../../lib/server.ts'
import { demoCluster } from '../../support/demo-cluster.ts'
import { until } from '../../support/wait.ts'

t.test('a waiting request is answered by a golden clone', async t => {
  const { config } = await demoCluster(t, {
    driver: 'qemu',
    affinity: 'none',
    cloneFrom: 'golden',
    healthyThreshold: 1,
    warmRequests: [{ path: '/' }, { method: 'POST', path: '/sessions/warm' }],
    scaleToZero: { idle_after: '6s', wait_timeout: '180s' },
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
  const ended = async () => (await server.control.operations({ limit: 1 }))[0]!.status !== 'running'
  await until('it has begun to serve in full', ended)
  await resized(t, server, second!.id)
  const identified = operation!.steps.find(({ step }) => step === 'identify')?.data
  t.match(identified, { items: [{ application: 'acknowledged' }] })
})

async function resized(t: Test, server: Server, id: string): Promise<void> {
  const resize = async (resources: Record<string, unknown>) => {
    const url = `http://127.0.0.1:${server.admin!.port}/api/v1/clusters/demo/resize?wait=120s`
    const body = JSON.stringify({ instance_id: id, resources })
    return fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
  }
  const seen = async () => (await fetch(`http://127.0.0.1:${server.listeners[0]!.port}/whoami`)).json()
  const grown = await resize({ cpus: 2, memory: '512MiB' })
  t.equal(grown.status, 200)
  const [operation] = await server.control.operations({ limit: 1 })
  t.match(operation!.steps.find(({ step }) => step === 'resize')?.data, { application: 'acknowledged' })
  t.match(await seen(), { cpus: 2, limits: { cpus: 2, memoryBytes: 2 ** 29, heapBytes: 2 ** 28 } })

  // One processor fewer could be given, so much memory not: all of it is refused, and nobody is told otherwise.
  t.equal((await resize({ cpus: 1, memory: '4GiB' })).status, 400)
  t.match(await seen(), { cpus: 2, limits: { cpus: 2, memoryBytes: 2 ** 29 } })
  t.equal((await resize({ cpus: 1, memory: '384MiB' })).status, 200)
  t.match(await seen(), { cpus: 1, limits: { cpus: 1, memoryBytes: 384 * 2 ** 20 } })
}
