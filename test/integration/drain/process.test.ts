/** An operator's maintenance on a whole Tidegate: drain with proof, a mark that outlives the process, back again. */
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { silentLog } from '../../../lib/log.ts'
import { type Server, startServer } from '../../../lib/server.ts'
import { type Demo, demoCluster } from '../../support/demo-cluster.ts'
import { get } from '../../support/load.ts'
import { until } from '../../support/wait.ts'

t.test('drain, restart, ready, maint', async t => {
  const demo = await demoCluster(t, {
    driver: 'process',
    minInstances: 2,
    healthyThreshold: 1,
    healthInterval: '500ms',
  })
  const first = await start(t, demo)
  await until('two serve', () => states(first).filter(state => state === 'ready').length === 2)
  const jar = new Map<string, string>()
  const home = await whoAnswers(first, jar)
  const socket = new WebSocket(`ws://127.0.0.1:${first.listeners[0]!.port}/ws`, {
    headers: { cookie: cookieOf(jar) },
  })
  await once(socket, 'message')
  const closed = once(socket, 'close')

  await until('all is counted', () => {
    const { tunnels, sessions } = first.control.backend('demo', home)
    return tunnels === 1 && sessions === 1
  })
  await drain(first, home, 300)
  const early = await first.control.waitDrained('demo', home, 10)
  t.match(early, { drained: false, tunnels: 1, sessions: 1 }, 'what is left while it drains')
  const proof = await first.control.waitDrained('demo', home, 20_000)
  t.match(proof, { drained: true, in_flight: 0, tunnels: 0, deadline_reached: true })
  t.equal((await closed)[0], 1001)
  t.equal(first.control.backend('demo', home).state, 'drained')
  const refuge = await whoAnswers(first, jar)
  t.not(refuge, home, 'its client is answered by another one')

  await first.close({ graceMs: 1_000 })
  const second = await start(t, demo)
  t.equal(second.control.backend('demo', home).state, 'drained', 'the mark outlives the process')
  t.equal(await whoAnswers(second, jar), refuge, 'and so does the session')
  await second.control.execute({ kind: 'ready_backend', cluster: 'demo', backend: home }, 'test')
  t.equal(second.control.backend('demo', home).state, 'ready')

  await second.control.execute({ kind: 'maint_backend', cluster: 'demo', backend: refuge }, 'test')
  t.equal(second.control.backend('demo', refuge).state, 'maint')
  t.equal(await whoAnswers(second, jar), home, 'maintenance keeps nobody')
  const reasons = (await second.control.history('demo', 10)).map(({ reason }) => reason)
  t.match(reasons.slice(0, 3), [/maintenance/, /ready/, /Draining/], 'who did it is written down')
})

t.test(
  'two who register one backend at once: one of them is refused, and the store knows the other',
  async t => {
    const demo = await demoCluster(t, { driver: 'process' })
    const server = await start(t, demo)
    const register = (port: number) =>
      server.control.execute(
        { kind: 'register_backend', cluster: 'demo', backend: 'extra', host: '127.0.0.1', port, weight: 1 },
        'test',
      )
    const outcomes = await Promise.allSettled([register(1001), register(1002)])
    t.strictSame(outcomes.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
    t.match(
      outcomes.find(outcome => outcome.status === 'rejected'),
      { reason: { code: 'backend_exists' } },
    )
    const { port } = server.control.backend('demo', 'extra')
    await server.close({ graceMs: 0 })
    const next = await start(t, demo)
    t.equal(next.control.backend('demo', 'extra').port, port, 'a restart changes nothing')
  },
)

async function start(t: Test, demo: Demo): Promise<Server> {
  const server = await startServer(demo.config, { log: silentLog })
  t.teardown(() => server.close({ graceMs: 0 }))
  return server
}

const states = (server: Server) => server.control.backends('demo').map(({ state }) => state)

async function whoAnswers(server: Server, jar: Map<string, string>): Promise<string> {
  const { body } = await get(server.listeners[0]!.port, '/whoami', { jar })
  return (JSON.parse(body) as { instance_id: string }).instance_id
}

function drain(server: Server, backend: string, gracePeriodMs: number) {
  return server.control.execute(
    {
      ...{ kind: 'drain_backend', cluster: 'demo', backend, policy: { gracePeriodMs } },
    } as const,
    'test',
  )
}

const cookieOf = (jar: Map<string, string>) => [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
