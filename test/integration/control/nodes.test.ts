/** Emptying a node of real processes through the API and the command line, under requests, over a restart. */
import t from 'tap'
import { cli } from '../../support/cli.ts'
import { installation } from '../../support/two-nodes.ts'

t.setTimeout(180_000)

t.test('drain-node moves everything, fails no request, survives a restart, and is taken back', async t => {
  const { start } = installation(t, { nodes: { n1: 4, n2: 3 } })
  const first = await start()
  await first.scale(2)
  t.strictSame(first.spread(), { n1: 2 })
  t.match(await cli(['nodes', '--admin', first.url]), {
    code: 0,
    out: /NODE +DRIVER +ZONE +STATE[\s\S]*n1 +process +zone-n1 +ready +2 +2\/4/,
  })
  t.match((await first.ask('/api/v1/nodes/n1')).body.node, {
    ...{ state: 'ready', capacity: { cpus: 4 }, free: { cpus: 2 }, promised: { cpus: 0 }, drain: null },
    price: { hourly: 0.1, kind: 'on_demand' },
  })
  const begun = await first.ask('/api/v1/nodes/n1/drain', { method: 'POST' })
  t.match(begun, {
    status: 202,
    body: { node: { state: 'draining', drain: { instances: 2, requested_by: 'api' } } },
  })
  await first.server.close({ graceMs: 0 })

  const second = await start()
  let asking = true
  const failures: unknown[] = []
  const asked = (async () => {
    while (asking) {
      const { status } = await second.front('/whoami').catch(error => ({ status: error }))
      if (status !== 200) failures.push(status)
    }
  })()
  t.match(await cli(['drain-node', 'n1', '--admin', second.url]), { code: 0, out: /n1 is drained\.\n$/ })
  asking = false
  await asked
  t.strictSame(failures, [])
  t.strictSame(second.spread(), { n2: 2 })
  t.match((await second.ask('/api/v1/nodes')).body.nodes, [
    { node_id: 'n1', state: 'drained', instances: [], drain: { left: 0, instances: 2 } },
    { node_id: 'n2', state: 'ready', instances: [{}, {}] },
  ])
  const refused = await second.ask('/api/v1/nodes/n2/drain', { method: 'POST' })
  t.match(refused, {
    status: 503,
    body: { error: { code: 'no_capacity', details: { needed: 2, found: 0 } } },
  })
  t.match(await cli(['ready-node', 'n1', '--admin', second.url]), { code: 0, out: 'n1 is ready.\n' })
  t.match(await cli(['drain-node', 'nowhere', '--admin', second.url]), { code: 1, err: /no node `nowhere`/ })
  const { history } = (await second.ask('/api/v1/history')).body
  t.match(
    history.filter((line: { node_id: string | null }) => line.node_id !== null),
    [
      { node_id: 'n1', action: 'ready_node', from: 'drained', to: 'ready', outcome: 'done', actor: 'cli' },
      { node_id: 'n2', action: 'drain_node', outcome: 'refused' },
      { node_id: 'n1', action: 'drain_node', from: 'draining', to: 'drained' },
      { node_id: 'n1', action: 'drain_node', from: 'ready', to: 'draining', actor: 'api' },
    ],
  )
})
