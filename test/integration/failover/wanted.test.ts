/**
 * Deaths that no clone stands by for, with real processes and real threads: who dies is made again from one who lives, up to as many as
 * were asked for, also while Tidegate itself was away; what an operator takes away stays away.
 */
import { join } from 'node:path'
import t from 'tap'
import { silentLog } from '../../../lib/log.ts'
import { startServer } from '../../../lib/server.ts'
import { demoCluster } from '../../support/demo-cluster.ts'
import { until } from '../../support/wait.ts'

const library = join(import.meta.dirname, '../../../lib/guest/index.ts')
/** Keeps the users that it has seen in memory. */
const application = `
import { createServer } from 'node:http'
import { guest } from ${JSON.stringify(library)}
let users = []
guest({ handOver: () => users, takeBack: state => { users = state } })
createServer((request, response) => {
  const user = request.url.slice(1)
  if (user !== 'healthz' && user !== 'who') users.push(user)
  response.end(users.join())
}).listen(process.env.PORT, process.env.HOST)
`

t.test('as many as were asked for, whoever dies', async t => {
  const command = ['node', '--input-type=module-typescript', '--eval', application]
  const demo = await demoCluster(t, { driver: 'process', affinity: 'none', command })
  let server = await startServer(demo.config, { log: silentLog })
  t.teardown(() => server.close({ graceMs: 0 }))
  const ready = () => server.control.backends('demo').filter(({ state }) => state === 'ready')
  const serve = (count: number) =>
    until(`${count} to serve`, async () => {
      const { instances, scaling_status: scaling } = await server.control.status('demo')
      const all = instances === count && scaling === 'stable' && ready().length === count
      return all ? ready().map(({ id }) => id) : null
    })
  const scale = (targetCount: number) =>
    server.control.execute(
      {
        ...{ kind: 'scale', cluster: 'demo', direction: null, targetCount },
        ...{ immediate: true, drainConnections: true },
      },
      'ann',
    )
  const kill = async (ids: readonly string[]) => {
    const [node] = await server.control.nodes()
    for (const { id, pid } of node!.instances) if (ids.includes(id)) process.kill(pid!, 'SIGKILL')
  }
  const users = async () => {
    const answer = await fetch(`http://127.0.0.1:${server.listeners[0]!.port}/who`)
    return [answer.status, await answer.text()]
  }

  await serve(1)
  await fetch(`http://127.0.0.1:${server.listeners[0]!.port}/ann`)
  await scale(3)
  const three = await serve(3)
  await kill(three.slice(0, 2))
  await until('they leave', () => !ready().some(({ id }) => three.slice(0, 2).includes(id)))
  const again = await serve(3)
  t.ok(again.includes(three[2]!), 'who lived serves on')
  for (let n = 0; n < 6; n++) t.strictSame(await users(), [200, 'ann'], 'all have the memory of who lived')
  // What is left of the killed goes when it is old enough, which may be before or after.
  const lines = (await server.control.history('demo', 9)).filter(({ action }) => action !== 'destroy_orphan')
  const said = lines.map(({ actor, reason }) => `${actor}: ${reason}`)
  t.strictSame(said[0], 'reconcile: Scaled up from 1 to 3 replicas (2 added)')

  await server.close({ graceMs: 0 })
  const [killed] = again
  server = await startServer(demo.config, { log: silentLog })
  await kill([killed!])
  await until('it leaves', () => !ready().some(({ id }) => id === killed))
  await serve(3)
  t.equal((await server.control.status('demo')).wanted, 3)

  await scale(1)
  await serve(1)
  t.match(await server.control.status('demo'), { instances: 1, wanted: 1 })
})
