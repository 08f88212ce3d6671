/** So many CPUs of a real VM's cluster: the one that runs grows and keeps its session, and what is lacking is a clone of it, as large as it is by then. */
import t from 'tap'
import { silentLog } from '../../../lib/log.ts'
import { startServer } from '../../../lib/server.ts'
import { demoCluster } from '../../support/demo-cluster.ts'
import { until } from '../../support/wait.ts'

t.test('it grows first, and is cloned in the same operation', async t => {
  const options = { driver: 'qemu', affinity: 'none', cloneFrom: 'live', healthyThreshold: 1 } as const
  const { config } = await demoCluster(t, { ...options, resizeFirstCpus: 2 })
  const server = await startServer(config, { log: silentLog })
  t.teardown(() => server.close({ graceMs: 0 }))
  const members = () => server.control.backends('demo')
  await until('the first one serves', () => members()[0]?.state === 'ready', 600_000)
  const stable = async () => (await server.control.status('demo')).scaling_status === 'stable'
  await until('its operation is over', stable, 60_000)
  const [first] = members()
  const url = ({ host, port }: { readonly host: string; readonly port: number }) => `http://${host}:${port}`
  await fetch(`${url(first!)}/sessions/anna`, { method: 'POST', body: 'a client' })

  const result = await server.control.execute(
    { kind: 'scale_to_cpus', cluster: 'demo', direction: null, targetCpus: 3, immediate: false },
    'test',
  )
  if (result.result !== 'operation') throw new Error(result.result)
  const ended = await server.control.waitOperation(result.operation.id, 600_000)
  for (const { step, duration_ms: took } of ended.steps) t.comment(`${step}: ${took} ms`)
  t.match(ended, { type: 'scale_out', status: 'completed', error: null })
  t.match(ended.steps.find(({ step }) => step === 'grow')?.data, {
    grown: [{ id: first!.id, resources: { cpus: 2 }, application: 'acknowledged' }],
  })
  t.equal(members().length, 2)
  for (const one of members()) {
    const answer = await fetch(`${url(one)}/sessions/anna`)
    t.match(await answer.text(), /a client/, `${one.id} knows the session`)
    t.match(await (await fetch(`${url(one)}/whoami`)).json(), { cpus: 2 }, `${one.id} has two CPUs`)
    t.match(one.instance?.resources, { cpus: 2 })
  }
  const [line] = await server.control.history('demo', 1)
  t.equal(line!.reason, `Scaled from 1 to 4 CPUs (${first!.id} resized to 2, 1 instance added)`)
})
