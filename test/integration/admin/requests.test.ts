/** The admin API over real sockets: what each endpoint asks of control, and what bad input gets. */
import t from 'tap'
import { TidegateError } from '../../../lib/errors.ts'
import { startAdmin } from '../../support/admin.ts'
import { anOperation, aStatus, completed } from '../../support/fake-control.ts'

const scalePath = '/api/v1/clusters/web/scale'

t.test('health and readiness', async t => {
  const { ask, control } = await startAdmin(t)
  t.match(await ask('/healthz'), { status: 200, body: { status: 'ok' } })
  t.match(await ask('/readyz'), { status: 200, body: { ready: true } })
  control.isReady = false
  t.match(await ask('/readyz'), { status: 503, body: { ready: false, reason: 'shutting down' } })
  t.match(await ask('/healthz', { method: 'HEAD' }), { status: 200, text: '' })
})

t.test('scale starts an operation and says where to look', async t => {
  const { ask, control } = await startAdmin(t)
  const body = { operation: 'scale_out', target_count: 3, immediate: true, drain_connections: false }
  const answer = await ask(scalePath, { method: 'POST', body })
  t.match(answer, { status: 202, body: { operation_id: 'op1', id: 'op1', status: 'running' } })
  t.equal(answer.headers.location, '/api/v1/operations/op1')
  t.strictSame(control.asked, [
    {
      command: {
        kind: 'scale',
        cluster: 'web',
        direction: 'scale_out',
        targetCount: 3,
        immediate: true,
        drainConnections: false,
      },
      actor: 'api',
    },
  ])
  await ask(scalePath, {
    method: 'POST',
    body: { target_count: 2 },
    headers: { 'user-agent': 'tidegate-cli/1' },
  })
  t.match(control.asked[1], {
    actor: 'cli',
    command: { direction: null, immediate: false, drainConnections: true },
  })
})

t.test('scale by CPUs is another question, and one of both is asked', async t => {
  const { ask, control } = await startAdmin(t)
  const scale = (body: object) => ask(scalePath, { method: 'POST', body })
  t.match(await scale({ target_cpus: 8, immediate: true }), { status: 202 })
  t.strictSame(control.asked, [
    {
      command: { kind: 'scale_to_cpus', cluster: 'web', direction: null, immediate: true, targetCpus: 8 },
      actor: 'api',
    },
  ])
  for (const body of [{}, { target_cpus: 8, target_count: 3 }])
    t.match(await scale(body), {
      status: 400,
      body: {
        error: { code: 'invalid_request', message: /one of `target_count` and `target_cpus` is wanted/ },
      },
    })
  t.match(await scale({ target_cpus: 8, drain_connections: false }), {
    status: 400,
    body: { error: { code: 'invalid_request', message: /nobody leaves for more CPUs/ } },
  })
  for (const target_cpus of [0, 1.5, 102_401])
    t.match(await scale({ target_cpus }), { status: 400, body: { error: { code: 'invalid_request' } } })
  t.equal(control.asked.length, 1)
})

t.test('scale with wait answers when it has ended, with its error when it ended badly', async t => {
  const { ask, control } = await startAdmin(t)
  const scale = () => ask(`${scalePath}?wait=60s`, { method: 'POST', body: { target_count: 3 } })
  t.match(await scale(), { status: 200, body: { operation_id: 'op1', status: 'completed' } })
  t.strictSame(control.waits, [{ id: 'op1', timeoutMs: 60_000 }])

  const error = { code: 'no_capacity', message: 'need 5, found 2 with capacity', details: { found: 2 } }
  control.onWait = () => completed({ status: 'failed', error })
  const failed = await scale()
  t.equal(failed.status, 503)
  t.strictSame(failed.body, { error: { ...error, details: { found: 2, operation_id: 'op1' } } })

  control.onWait = () => completed({ status: 'cancelled' })
  t.match(await scale(), { status: 409, body: { error: { code: 'operation_cancelled' } } })

  const foreign = { code: 'what_is_this', message: 'm', details: null }
  control.onWait = () => completed({ status: 'failed', error: foreign })
  t.match(await scale(), { status: 500, body: { error: { code: 'operation_failed', message: 'm' } } })

  control.onWait = () => anOperation()
  t.match(await scale(), {
    status: 504,
    body: { error: { code: 'wait_timeout', details: { operation_id: 'op1' } } },
  })
})

t.test('the same target is a success that made no operation', async t => {
  const { ask, control } = await startAdmin(t)
  const message = 'Already at 2 instances.'
  control.onExecute = () => ({ result: 'unchanged', cluster: aStatus(), message })
  const answer = await ask(scalePath, { method: 'POST', body: { target_count: 2 } })
  t.equal(answer.status, 200)
  t.strictSame(answer.body, { operation_id: null, unchanged: true, message, cluster: aStatus() })
})

t.test('errors of control keep their code, status and details', async t => {
  const { ask, control } = await startAdmin(t)
  control.onExecute = () => {
    throw new TidegateError('operation_running', 'Operation op9 is running.', {
      details: { operation_id: 'op9' },
    })
  }
  const answer = await ask(scalePath, { method: 'POST', body: { target_count: 2 } })
  t.equal(answer.status, 409)
  t.strictSame(answer.body.error, {
    code: 'operation_running',
    message: 'Operation op9 is running.',
    details: { operation_id: 'op9' },
  })
  control.onExecute = () => {
    throw new Error('secret path /x')
  }
  const internal = await ask(scalePath, { method: 'POST', body: { target_count: 2 } })
  t.match(internal, { status: 500, body: { error: { code: 'internal' } } })
  t.notMatch(internal.text, /secret/, 'an unexpected error is for the log only')
})

t.test('faulty bodies and queries name the field and the fix', async t => {
  const { ask, control } = await startAdmin(t)
  const cases: [string, unknown, RegExp, number][] = [
    [scalePath, '{ "target_count": ', /not JSON/, 400],
    [scalePath, '3', /not a group of keys/, 400],
    [scalePath, undefined, /body is missing/, 400],
    [scalePath, {}, /target_count.*is wanted/, 400],
    [scalePath, { target_count: '3' }, /target_count.*without quotes/, 400],
    [scalePath, { target_count: 2.5 }, /target_count.*whole number/, 400],
    [scalePath, { target_cout: 3 }, /target_cout.*did you mean `target_count`/, 400],
    [scalePath, { target_count: 3, operation: 'scale_up' }, /operation.*scale_out, scale_in/, 400],
    [scalePath, { target_count: 3, immediate: 'yes' }, /immediate.*true or false/, 400],
    [`${scalePath}?wait=60`, { target_count: 3 }, /wait.*`60s`/, 400],
    [`${scalePath}?wait=11m`, { target_count: 3 }, /wait.*at most 10m/, 400],
    [`${scalePath}?wait=1s&wait=2s`, { target_count: 3 }, /wait/, 400],
    [`${scalePath}?wiat=1s`, { target_count: 3 }, /did you mean `wait`/, 400],
    ['/api/v1/clusters/web/replace', { instance_id: 4 }, /instance_id/, 400],
    ['/api/v1/clusters/web/backends', { id: 'b', address: 'nowhere' }, /address.*add the port/, 400],
    ['/api/v1/clusters/web/backends', { id: '../b', address: 'h:1' }, /id/, 400],
    ['/api/v1/clusters/web/backends/a/drain', { grace_period_seconds: -1 }, /grace_period_seconds/, 400],
    ['/api/v1/clusters/web/backends/a/ready', { force: true }, /force/, 400],
    [scalePath, { target_count: 3, pad: 'x'.repeat(70_000) }, /65536 bytes/, 413],
    ['/api/v1/clusters/web/%zz', {}, /./, 400],
  ]
  for (const [path, body, message, status] of cases) {
    const answer = await ask(path, { method: 'POST', body })
    t.equal(answer.status, status, `${path} ${JSON.stringify(body)?.slice(0, 60)}`)
    t.match(answer.body.error.message, message)
    t.type(answer.body.error.code, 'string')
  }
  t.strictSame(control.asked, [], 'nothing reached control')
})

t.test('replace takes one instance, or all', async t => {
  const { ask, control } = await startAdmin(t)
  const path = '/api/v1/clusters/web/replace'
  t.equal((await ask(path, { method: 'POST', body: { instance_id: 'web-1' } })).status, 202)
  t.equal((await ask(path, { method: 'POST', body: { all: true } })).status, 202)
  for (const body of [{}, { all: true, instance_id: 'web-1' }, { all: false }])
    t.equal((await ask(path, { method: 'POST', body })).status, 400, JSON.stringify(body))
  t.strictSame(
    control.asked.map(({ command }) => command),
    [
      { kind: 'replace', cluster: 'web', instanceId: 'web-1' },
      { kind: 'replace_all', cluster: 'web' },
    ],
  )
})

t.test('several faults are told together', async t => {
  const { ask } = await startAdmin(t)
  const answer = await ask(scalePath, { method: 'POST', body: { target_count: 'x', immediate: 1, foo: 2 } })
  t.strictSame(answer.body.error.details.faults.map((fault: { field: string }) => fault.field).sort(), [
    'foo',
    'immediate',
    'target_count',
  ])
})

t.test('other media types, methods and paths', async t => {
  const { ask } = await startAdmin(t)
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x']) {
    const headers = { 'content-type': type }
    const answer = await ask(scalePath, { method: 'POST', body: '{"target_count":3}', headers })
    t.match(answer, { status: 415, body: { error: { code: 'unsupported_media_type' } } }, type)
  }
  const wrong = await ask(scalePath, { method: 'DELETE' })
  t.match(wrong, { status: 405, body: { error: { code: 'method_not_allowed' } } })
  t.equal(wrong.headers.allow, 'POST')
  t.match(await ask('/api/v1/nothing'), { status: 404, body: { error: { code: 'unknown_endpoint' } } })
  t.match(await ask('/api/v1/clusters/no'), { status: 404, body: { error: { code: 'unknown_cluster' } } })
  t.match(await ask('/api/v1/events'), { status: 426, body: { error: { code: 'upgrade_required' } } })
})

t.test('backends: list, register, deregister, marks', async t => {
  const { ask, control } = await startAdmin(t)
  const base = '/api/v1/clusters/web/backends'
  t.match(await ask(base), { status: 200, body: { backends: [{ id: 'a', address: '127.0.0.1:8081' }] } })
  const added = await ask(base, { method: 'POST', body: { id: 'b', address: '[::1]:9000', weight: 5 } })
  t.match(added, { status: 201, body: { backend: { id: 'b' } } })
  const near = { id: 'c', address: '10.0.0.5:80', zone: 'fra-1' }
  t.match(await ask(base, { method: 'POST', body: near }), { status: 201 })
  t.match(await ask(base, { method: 'POST', body: { ...near, zone: 'Frankfurt 1' } }), {
    status: 400,
    body: { error: { details: { faults: [{ field: 'zone', fix: /lower-case letters/ }] } } },
  })
  const removed = await ask(`${base}/b`, { method: 'DELETE' })
  t.match(removed, { status: 204, text: '' })
  t.match(await ask(`${base}/a/ready`, { method: 'POST' }), { status: 200, body: { backend: { id: 'a' } } })
  t.match(await ask(`${base}/a/maint`, { method: 'POST', body: {} }), { status: 200 })
  t.strictSame(
    control.asked.map(({ command }) => command),
    [
      { kind: 'register_backend', cluster: 'web', backend: 'b', host: '::1', port: 9000, weight: 5 },
      {
        ...{ kind: 'register_backend', cluster: 'web', backend: 'c', host: '10.0.0.5', port: 80, weight: 1 },
        zone: 'fra-1',
      },
      { kind: 'deregister_backend', cluster: 'web', backend: 'b' },
      { kind: 'ready_backend', cluster: 'web', backend: 'a' },
      { kind: 'maint_backend', cluster: 'web', backend: 'a' },
    ],
  )
})

t.test('drain: settings, and the proof with wait', async t => {
  const { ask, control } = await startAdmin(t)
  const path = '/api/v1/clusters/web/backends/a/drain'
  t.match(await ask(path, { method: 'POST' }), { status: 202, body: { backend: { id: 'a' } } })
  const body = {
    ...{ grace_period_seconds: 1.5, wait_for_connections: false, notify_clients: false },
    ...{ sessions: 'keep', close_code: 1012, close_spread_seconds: 0.5 },
  }
  const answer = await ask(`${path}?wait=30s`, { method: 'POST', body })
  t.match(answer, { status: 200, body: { proof: { drained: true, in_flight: 0, tunnels: 0, sessions: 3 } } })
  t.strictSame(
    control.asked.map(({ command }) => command),
    [
      { kind: 'drain_backend', cluster: 'web', backend: 'a', policy: {} },
      {
        kind: 'drain_backend',
        cluster: 'web',
        backend: 'a',
        policy: {
          gracePeriodMs: 1500,
          waitForConnections: false,
          sessions: 'keep',
          tunnels: 'cut',
          closeCode: 1012,
          closeSpreadMs: 500,
        },
      },
    ],
  )
  const contradiction = await ask(path, { method: 'POST', body: { notify_clients: true, tunnels: 'keep' } })
  t.match(contradiction, { status: 400, body: { error: { message: /notify_clients.*contradicts/ } } })
  t.strictSame(control.waits, [{ id: 'web/a', timeoutMs: 30_000 }])
})

t.test('operations, history, nodes', async t => {
  const { ask, control } = await startAdmin(t)
  t.match(await ask('/api/v1/operations?cluster=web&limit=5'), { body: { operations: [{ id: 'op1' }, {}] } })
  await ask('/api/v1/operations')
  t.strictSame(control.filters, [{ cluster: 'web', limit: 5 }, { limit: 100 }])
  for (const limit of ['0', '1001', 'x', '1e2', ''])
    t.equal((await ask(`/api/v1/operations?limit=${limit}`)).status, 400, `limit ${limit}`)
  t.match(await ask('/api/v1/operations/op1'), { status: 200, body: { id: 'op1' } })
  t.match(await ask('/api/v1/operations/op1/cancel', { method: 'POST' }), { status: 202 })
  t.match(control.asked[0], { command: { kind: 'cancel_operation', operation: 'op1' } })
  t.match(await ask('/api/v1/clusters/web/history'), {
    body: {
      history: [
        {
          at: '2026-01-02T00:00:00.000Z',
          cluster_id: 'web',
          from: 3,
          to: 5,
          outcome: 'done',
          operation_id: 'op0',
        },
      ],
    },
  })
  t.match(await ask('/api/v1/history'), {
    body: { history: [{ cluster_id: 'web' }, { cluster_id: null, node_id: 'local', outcome: null }] },
  })
  t.match(await ask('/api/v1/nodes'), { body: { nodes: [{ node_id: 'local' }] } })
  t.match(await ask('/api/v1/nodes/local/drain', { method: 'POST' }), { status: 202, body: { node: {} } })
  t.match(await ask('/api/v1/nodes/local/drain?wait=5s', { method: 'POST' }), { status: 200 })
  t.strictSame(control.waits, [{ id: 'local', timeoutMs: 5_000 }])
  t.match(await ask('/api/v1/nodes/none'), { status: 404, body: { error: { code: 'unknown_node' } } })
  t.match(await ask('/api/v1/certificates'), { body: { certificates: [{ names: ['shop.test'] }] } })
})
