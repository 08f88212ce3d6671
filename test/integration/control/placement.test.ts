/** Where instances go and who leaves, on real processes: room, protection, and load that comes back in the middle. */
import t from 'tap'
import { cli } from '../../support/cli.ts'
import { Echoing } from '../../support/reloadable.ts'
import { installation } from '../../support/two-nodes.ts'
import { until } from '../../support/wait.ts'

t.test('replicas, full nodes, protected instances', async t => {
  const { start } = installation(t, { nodes: { n1: 2, n2: 1 }, scaling: { max_instances: 9 } })
  const { ask, backends, spread, last, url } = await start()
  const replicas = (n: number) =>
    ask('/api/v1/deployments/web/scale', { method: 'POST', body: { replicas: n } })
  t.strictSame((await replicas(3)).body, {
    ...{ success: true, deployment_id: 'web', status: 'running', replicas: 3 },
    message: 'Scaled up to 3 replicas (2 added)',
  })
  t.strictSame(spread(), { n1: 2, n2: 1 })
  t.match((await last()).steps.find(({ step }) => step === 'allocate')?.data, {
    items: [{ node: 'n1', score: Number }, { node: 'n2' }],
    candidates: [
      { node: 'n1', fits: 1, taken: 1, parts: { locality: 1 } },
      { node: 'n2', zone: 'zone-n2', fits: 1, taken: 1, parts: { locality: 0, spread: 1 } },
    ],
  })
  t.strictSame((await replicas(3)).body.message, 'Already at 3 replicas')
  const full = await replicas(8)
  t.match(full, {
    status: 503,
    body: { error: { code: 'no_capacity', details: { needed: 5, found: 0 } } },
  })
  t.equal(full.body.error.message, 'Insufficient nodes for scale-up: need 5, found 0 with capacity')
  t.match((await ask('/api/v1/history')).body.history[0], { action: 'scale', outcome: 'refused', to: 8 })

  const [first, second, third] = backends().map(({ id }) => id) as [string, string, string]
  t.match(await cli(['protect', `web/${second}`, '--admin', url]), {
    code: 0,
    out: /protected from scale-in/,
  })
  await ask(`/api/v1/clusters/web/backends/${third}/protect`, { method: 'POST' })
  t.match((await ask('/api/v1/clusters/web/backends')).body.backends, [
    { instance: { protected: false } },
    { instance: { protected: true } },
    { instance: { protected: true } },
  ])
  t.match(await replicas(1), { status: 409, body: { error: { code: 'instances_protected' } } })
  t.equal((await cli(['unprotect', `web/${third}`, '--admin', url])).code, 0)
  t.match(await replicas(2), { body: { message: 'Scaled down to 2 replicas (1 removed)' } })
  t.strictSame(
    backends().map(({ id }) => id),
    [first, second],
  )
  t.match((await last()).steps.find(({ step }) => step === 'plan')?.data, {
    candidates: [
      { id: third, chosen: true, score: 0, hourly: 0.1, zone: 'zone-n2' },
      { id: first, kept: /longest memory/ },
      { id: second, kept: 'protected' },
    ],
  })
})

t.test('within a cooldown the same way is refused with the seconds that remain', async t => {
  const { start } = installation(t, { scaling: { scale_out_cooldown_seconds: 600 } })
  const { ask, backends, scale, url } = await start()
  const path = '/api/v1/clusters/web/scale?wait=60s'
  const to = (target_count: number, more = {}) =>
    ask(path, { method: 'POST', body: { target_count, ...more } })
  await scale(2)
  const details = { cluster_id: 'web', operation: 'scale_out', cooldown_seconds: 600 }
  const refused = { status: 409, body: { error: { code: 'cooling_down', details } } }
  const answer = await to(3)
  t.match(answer, refused)
  const { remaining_seconds: seconds } = answer.body.error.details
  t.ok(seconds > 500 && seconds <= 600, `${seconds} s`)
  const replicas = { method: 'POST', body: { replicas: 3 } }
  t.match(await ask('/api/v1/deployments/web/scale', replicas), refused)
  t.match(await cli(['scale', 'web', '--to', '3', '--admin', url]), { code: 1, err: /ask again in \d+ s/ })
  t.match((await ask('/api/v1/history')).body.history[0], { action: 'scale', outcome: 'refused', to: 3 })
  t.match(await to(2), { status: 200 }, 'who is there already is not refused')
  t.match(await to(1), { status: 200 }, 'a mistake can be taken back')
  t.match(await to(2, { immediate: true }), { status: 200 }, 'who is in a hurry')
  t.equal(backends().length, 2)
})

t.test(
  'load that comes back before the pivot gives the scale-in up, and whoever was to leave stays',
  async t => {
    const drain = { grace_period_seconds: 60, sessions: 'repin', tunnels: 'keep' }
    const { start } = installation(t, { drain, scaling: { scale_in_cancel_in_flight: 3 } })
    const { ask, backends, scale, server, front, last } = await start()
    await scale(2)
    const port = server.listeners[0]!.port
    // One on each, so that whoever leaves has somebody to wait for.
    const sockets = await Promise.all(Array.from({ length: 8 }, () => Echoing.open(port)))
    t.ok(backends().every(({ tunnels }) => tunnels > 0))
    const body = { target_count: 1 }
    const { operation_id: id } = (await ask('/api/v1/clusters/web/scale', { method: 'POST', body })).body
    await until('it drains', () => backends().some(({ state }) => state === 'draining'))
    const load = Array.from({ length: 12 }, () => front('/slow?ms=4000'))
    const ended = await server.control.waitOperation(id, 300_000)
    t.match(ended, {
      status: 'cancelled',
      error: { code: 'load_returned', message: /per remaining instance/ },
    })
    t.match(backends(), [{ state: 'ready' }, { state: 'ready' }])
    for (const socket of sockets) await socket.echo()
    for (const answer of await Promise.all(load)) t.equal(answer.status, 200)
    t.match((await server.control.history('web', 1))[0], { outcome: 'cancelled', reason: /load came back/ })
    t.equal((await last()).id, id)
    for (const socket of sockets) socket.socket.close()
  },
)

t.test('replacing all: new processes serve, the old ones are gone, and no request fails', async t => {
  const { start } = installation(t)
  const { backends, scale, front, url, ask } = await start()
  await scale(2)
  const before = backends().map(({ id }) => id)
  await ask('/api/v1/clusters/web/resize', {
    method: 'POST',
    body: { instance_id: before[0], resources: { cpus: 2 } },
  }).then(answer => t.match(answer, { status: 400, body: { error: { code: 'resize_unsupported' } } }))
  let asking = true
  const failures: unknown[] = []
  const asked = (async () => {
    while (asking) {
      const { status } = await front('/whoami').catch(error => ({ status: error }))
      if (status !== 200) failures.push(status)
    }
  })()
  t.match(await cli(['replace', 'web', '--all', '--admin', url]), { code: 0 })
  asking = false
  await asked
  t.strictSame(failures, [])
  const now = backends().map(({ id }) => id)
  t.equal(now.length, 2)
  t.notOk(now.some(id => before.includes(id)))
  t.match(await cli(['replace', 'web', '--admin', url]), { code: 2, err: /name an instance, or write --all/ })
})
