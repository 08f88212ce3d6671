/** A policy set through the API: in force at once, kept over restarts and reloads, until the file says something new. */
import { join } from 'node:path'
import t from 'tap'
import { asker } from '../../support/admin.ts'
import { cli } from '../../support/cli.ts'
import { reloadable } from '../../support/reloadable.ts'

const documentIn =
  (directory: string) =>
  (scaling: object, debug = false) => ({
    listeners: [{ address: '127.0.0.1:0' }],
    admin: { address: '127.0.0.1:0' },
    threads: 0,
    debug_headers: debug,
    store: { kind: 'sqlite', path: join(directory, 'tidegate.db') },
    clusters: [{ id: 'web', backends: [{ id: 'a', address: '127.0.0.1:9' }], scaling }],
  })

t.test('the newest word wins, the file’s or the API’s', async t => {
  const document = documentIn(t.testdir())
  const first = await reloadable(t, document({ max_instances: 5 }))
  const path = '/api/v1/clusters/web/policy'
  const ask = asker(first.server.admin.port)
  t.match(await ask(path), { status: 200, body: { cluster_id: 'web', max_instances: 5, source: 'file' } })
  const set = await ask(path, { method: 'PUT', body: { max_instances: 7, min_instances: 2 } })
  t.match(set, { status: 200, body: { max_instances: 7, min_instances: 2, source: 'api', set_by: 'api' } })
  t.match(await ask('/api/v1/clusters/web/history'), {
    body: {
      history: [{ reason: 'Changed the policy: min_instances 1 → 2, max_instances 5 → 7', outcome: 'done' }],
    },
  })
  await first.become(document({ max_instances: 5 }, true))
  t.match((await ask(path)).body, { max_instances: 7, source: 'api' }, 'a reload that says nothing new of it')
  await first.server.close({ graceMs: 0 })

  const second = await reloadable(t, document({ max_instances: 5 }))
  const again = asker(second.server.admin.port)
  t.match((await again(path)).body, { max_instances: 7, source: 'api' }, 'a restart')
  await second.become(document({ max_instances: 6 }))
  t.match((await again(path)).body, { max_instances: 6, min_instances: 1, source: 'file' }, 'the file’s turn')
  const url = `http://127.0.0.1:${second.server.admin.port}`
  t.match(await cli(['policy', 'web', '--max', '3', '--protect', 'original', '--admin', url]), {
    code: 0,
    out: /set by cli at[\s\S]*max_instances +3[\s\S]*protect +original/,
  })
  t.match(await cli(['policy', 'web', '--reset', '--json', '--admin', url]), {
    code: 0,
    out: /"max_instances": ?6/,
  })
  t.match(await cli(['policy', 'web', '--max', '101', '--admin', url]), { code: 2, err: /1 to 100/ })
  t.match(await cli(['policy', 'web', '--max', '3', '--reset', '--admin', url]), { code: 2 })
})

t.test('impossible policies are refused with the field and the fix', async t => {
  const { server } = await reloadable(t, documentIn(t.testdir())({}))
  const ask = asker(server.admin.port)
  const cases: [object, string][] = [
    [{ min_instances: 11 }, 'min_instances'],
    [{ min_instances: 0 }, 'min_instances'],
    [{ max_instances: 101 }, 'max_instances'],
    [{ scale_in_cooldown_seconds: -1 }, 'scale_in_cooldown_seconds'],
    [{ target_cpu_utilization: 2 }, 'target_cpu_utilization'],
    [{ max_instance: 3 }, 'max_instance'],
  ]
  for (const [body, field] of cases) {
    const answer = await ask('/api/v1/clusters/web/policy', { method: 'PUT', body })
    t.match(answer, { status: 400, body: { error: { code: 'invalid_request' } } }, JSON.stringify(body))
    t.match(answer.body.error.details.faults, [{ field, message: /./, fix: /./ }])
  }
  t.match(await ask('/api/v1/clusters/no/policy'), { status: 404 })
  t.match((await ask('/api/v1/clusters/web/policy')).body, { source: 'file', max_instances: 10 })
  for (const replicas of [0, 101, 2.5, '3'])
    t.equal((await ask('/api/v1/deployments/web/scale', { method: 'POST', body: { replicas } })).status, 400)
  t.match(await ask('/api/v1/deployments/web/scale', { method: 'POST', body: { replicas: 2 } }), {
    status: 400,
    body: { error: { code: 'not_scalable' } },
  })
  t.match(await ask('/api/v1/deployments/no/scale', { method: 'POST', body: { replicas: 2 } }), {
    status: 404,
  })
})
