/** Golden clones with real processes behind a real front door: warmed before they are saved, and nothing of the traffic in them. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { silentLog } from '../../../lib/log.ts'
import { type Server, startServer } from '../../../lib/server.ts'
import { cli } from '../../support/cli.ts'
import { demoCluster } from '../../support/demo-cluster.ts'
import { get } from '../../support/load.ts'
import { until } from '../../support/wait.ts'

t.test('clones have what the warm requests left, and nothing of the clients', async t => {
  const { config, directory } = await demoCluster(t, {
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
  await t.test('the store of snapshots, by HTTP and by its verb', t => snapshotStore(t, server, directory))
})

/** The one that is used is shown with its users and refused; a made-up one is unknown; one that nobody uses goes. */
async function snapshotStore(t: Test, server: Server, directory: string): Promise<void> {
  const url = `http://127.0.0.1:${server.admin.port}`
  const ask = async (method: string, path: string) => {
    const answer = await fetch(`${url}/api/v1/snapshots${path}`, { method })
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
  }
  const list = async () => (await ask('GET', '')).body.snapshots as { id: string; used_by: unknown[] }[]
  const [golden] = await list()
  t.match(golden, {
    cluster_id: 'demo',
    kind: 'golden',
    complete: true,
    used_by: [{ kind: 'golden', id: 'demo' }],
  })
  const refused = await ask('DELETE', `/${golden!.id}`)
  t.match(refused, {
    status: 409,
    body: { error: { code: 'snapshot_in_use', message: /in use by new instances of cluster demo/ } },
  })
  t.match(await ask('DELETE', '/web-nobody-s'), {
    status: 404,
    body: { error: { code: 'unknown_snapshot' } },
  })
  const env = { TIDEGATE_ADMIN: url }
  const shown = await cli(['snapshots'], { env })
  t.equal(shown.code, 0)
  t.match(shown.out, new RegExp(`${golden!.id}.*`))
  t.match((await cli(['snapshots', '--json'], { env })).out, golden!.id)
  const kept = await cli(['snapshots', '--remove', golden!.id], { env })
  t.equal(kept.code, 1)
  t.match(kept.err, /in use by new instances of cluster demo/)
  t.match((await list())[0], { id: golden!.id }, 'it is still there')
  t.equal((await cli(['snapshots', '--remove', 'web-nobody-s'], { env })).code, 1)

  const stray = 'demo-left-over'
  const folder = (name: string) => join(directory, 'local/snapshots', name)
  cpSync(folder(golden!.id), folder(stray), { recursive: true })
  const record = join(folder(stray), 'owner.json')
  writeFileSync(record, readFileSync(record, 'utf8').replaceAll(golden!.id, stray))
  t.match(await cli(['snapshots', '--remove', stray], { env }), { code: 0, out: new RegExp(stray) })
  t.same(
    (await list()).map(({ id }) => id),
    [golden!.id],
  )
}
