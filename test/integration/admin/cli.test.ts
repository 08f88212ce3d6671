/** The verbs against an admin server: what they ask, what they print, how they end. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { TidegateError } from '../../../lib/errors.ts'
import type { NodeView } from '../../../lib/views.ts'
import { startAdmin } from '../../support/admin.ts'
import { cli, startCli } from '../../support/cli.ts'
import { aNode, anOperation, aProof, aStatus, completed } from '../../support/fake-control.ts'
import { until } from '../../support/wait.ts'

t.test('status prints clusters and backends; --json one document', async t => {
  const { url } = await startAdmin(t)
  const plain = await cli(['status', '--admin', url])
  t.equal(plain.code, 0)
  t.match(plain.out, /CLUSTER +HEALTH +SCALING +INSTANCES/)
  t.match(plain.out, /web +healthy +stable +2 \(1–10\) +1 +\*\//)
  t.match(plain.out, /a +127\.0\.0\.1:8081 +ready +healthy +2 +1 +7 +40 +0/)
  const json = await cli(['status', 'web', '--json'], { env: { TIDEGATE_ADMIN: url } })
  t.match(json.json(), {
    clusters: [{ cluster_id: 'web', status: aStatus(), backends: [{ id: 'a', tunnels: 1 }] }],
  })
  const unknown = await cli(['status', 'nope', '--admin', url])
  t.match(unknown, { code: 1, out: '', err: 'tidegate: There is no cluster `nope`.\n' })
})

t.test('status shows nodes that cannot be asked, and orphans', async t => {
  const { url, control } = await startAdmin(t)
  const well = await cli(['status', '--admin', url])
  t.notMatch(well.out, /orphans|cannot be asked/)
  const orphan = {
    id: 'web-op9-1',
    kind: 'instance',
    cluster: 'web',
    operation: 'op9',
    created_at: '2026-01-02T00:00:00.000Z',
  } as const
  const later = {
    ...orphan,
    id: 'web-op9-s',
    kind: 'snapshot',
    collect_at: null,
    why: 'it cannot be read',
  } as const
  const orphans: NodeView['orphans'] = [
    { ...orphan, collect_at: '2026-01-02T00:00:30.000Z', why: 'it is younger than 30 s' },
    later,
  ]
  const away = { reachable: false, unknown_since: '2026-01-01T00:00:00.000Z', reason: 'no answer\u001b[2J' }
  control.onNode = () => aNode({ ...away, orphans })
  const { code, out } = await cli(['status', '--admin', url])
  t.equal(code, 0)
  t.match(out, /nodes that cannot be asked.*:\n {2}NODE +FOR +WHY\n {2}local +.+ no answer/)
  t.notMatch(out, /\u001b/, 'what a node says does not move the cursor')
  t.match(out, /orphans:\n.*DESTROYED.*\n {2}web-op9-1 +instance +local +web +in .+ it is younger/)
  t.match(out, /web-op9-s +snapshot +local +web +not yet +it cannot be read/)
  const all = (await cli(['status', '--json', '--admin', url])).json()
  t.match(all.orphans, [
    { node_id: 'local', id: 'web-op9-1' },
    { node_id: 'local', ...later },
  ])
  t.match(all.nodes_unknown, [{ node_id: 'local', unknown_since: away.unknown_since }])
  t.notOk(
    'orphans' in (await cli(['status', 'web', '--json', '--admin', url])).json(),
    'of one cluster: that cluster',
  )
})

t.test('replace --rolling takes what a batch is from its options', async t => {
  const { url, control } = await startAdmin(t)
  const wishes: [string[], object][] = [
    [[], {}],
    [['--batch', '2', '--pause', '90s'], { batch_size: 2, pause_seconds: 90 }],
    [['--batch', '25%', '--max-failure-ratio', '0.05'], { batch_size: '25%', max_failure_ratio: 0.05 }],
  ]
  for (const [flags, wish] of wishes) {
    const { code, out } = await cli(['replace', 'web', '--rolling', '--no-wait', ...flags, '--admin', url])
    t.match({ code, out }, { code: 0, out: /Follow it: tidegate operations op1 --follow/ })
    t.strictSame(control.asked.at(-1)?.command, { kind: 'replace_rolling', cluster: 'web', wish })
  }
  const asked = control.asked.length
  const refused: [string[], RegExp][] = [
    [[], /name an instance, or write --all or --rolling/],
    [['web-1', '--rolling'], /name an instance, or write --all or --rolling/],
    [['--all', '--rolling'], /name an instance, or write --all or --rolling/],
    [['--all', '--batch', '2'], /go with --rolling/],
    [['web-1', '--pause', '30s'], /go with --rolling/],
    [['--rolling', '--pause', '30'], /no unit; write `30s`/],
    [['--rolling', '--batch', 'half'], /half/],
    [['--rolling', '--max-failure-ratio', 'few'], /Write a number, as 0\.05/],
    [['--rolling', '--max-failure-ratio', ''], /Write a number, as 0\.05/],
  ]
  for (const [flags, said] of refused)
    t.match(
      await cli(['replace', 'web', ...flags, '--admin', url]),
      { code: 2, out: '', err: said },
      flags.join(' '),
    )
  t.equal(control.asked.length, asked, 'nothing was asked')
})

t.test('scale follows the operation to its end', async t => {
  const { url, control } = await startAdmin(t)
  let asked = 0
  control.onOperation = () => {
    asked += 1
    return asked < 3 ? anOperation() : completed()
  }
  const running = startCli(['scale', 'web', '--to', '3', '--immediate', '--no-drain', '--admin', url])
  // Events make it look again at once; without them it would poll.
  await until('it waits', () => running.waiting())
  const outcome = {
    type: 'operation_ended',
    cluster: 'web',
    operation_id: 'op1',
    outcome: 'completed',
    error: null,
  } as const
  await until('it asked often enough', () => {
    control.eventLog.publish(outcome)
    return asked >= 3
  })
  const { code, out, err } = await running.done
  t.equal(code, 0)
  t.match(
    out,
    /^scale_out web {2}operation op1 {2}preparing\n {2}✓ prepare +250 ms\nscale_out of web completed in 1\.5 s\n$/,
  )
  t.equal(err, '')
  t.match(control.asked[0], {
    actor: 'cli',
    command: { kind: 'scale', targetCount: 3, direction: null, immediate: true, drainConnections: false },
  })
})

t.test('scale by CPUs asks for these, and for one of both', async t => {
  const { url, control } = await startAdmin(t)
  t.match(await cli(['scale', 'web', '--cpus', '8', '--no-wait', '--admin', url]), { code: 0 })
  const command = { kind: 'scale_to_cpus', targetCpus: 8, direction: null, immediate: false }
  t.match(control.asked[0], { actor: 'cli', command })
  for (const [wrong, message] of [
    [[], /write --to N for so many instances, or --cpus N/],
    [['--to', '3', '--cpus', '8'], /write --to N for so many instances, or --cpus N/],
    [['--cpus', '8', '--no-drain'], /nobody leaves for more CPUs/],
  ] as const)
    t.match(await cli(['scale', 'web', ...wrong, '--admin', url]), { code: 2, err: message })
  t.match(
    await cli(['policy', 'web', '--resize-first-cpus', '4', '--resize-first-memory', '1024', '--admin', url]),
    {
      code: 0,
    },
  )
  const policy = { resize_first_cpus: 4, resize_first_memory_mib: 1_024 }
  t.match(control.asked.at(-1)?.command, { kind: 'set_policy', policy })
})

t.test('a terminal gets a list that is redrawn', async t => {
  const { url, control } = await startAdmin(t)
  control.onOperation = () => completed()
  const { code, out } = await cli(['scale', 'web', '--to', '3', '--admin', url], { tty: true })
  t.equal(code, 0)
  t.match(out, '\u001b[2A', 'it went up over the lines that it had drawn')
  t.match(out, /completed in 1\.5 s\n$/)
})

t.test('an operation that fails is exit 1 with its error', async t => {
  const { url, control } = await startAdmin(t)
  const error = { code: 'no_capacity', message: 'need 5, found 2 with capacity', details: {} }
  control.onOperation = () => completed({ status: 'failed', error })
  const plain = await cli(['replace', 'web', 'web-1', '--admin', url])
  t.equal(plain.code, 1)
  t.match(plain.err, /scale_out of web failed: need 5, found 2 with capacity/)
  const json = await cli(['scale', 'web', '--to', '5', '--json', '--admin', url])
  t.equal(json.code, 1)
  t.match(json.json(), { error: { code: 'no_capacity', details: { operation_id: 'op1' } } })
  t.equal(json.err, '')
  t.match(control.asked[0]?.command, { kind: 'replace', instanceId: 'web-1' })
})

t.test('--json of a waiting verb is the operation as it ended', async t => {
  const { url, control } = await startAdmin(t)
  control.onOperation = () => completed()
  const { code, json } = await cli(['scale', 'web', '--to', '3', '--json', '--admin', url])
  t.equal(code, 0)
  t.strictSame(json(), completed())
})

t.test('--no-wait, nothing to do, refused', async t => {
  const { url, control } = await startAdmin(t)
  const started = await cli(['scale', 'web', '--to', '3', '--no-wait', '--admin', url])
  t.match(started, { code: 0, out: /tidegate operations op1 --follow/ })
  control.onExecute = () => ({ result: 'unchanged', cluster: aStatus(), message: 'Already at 2 instances.' })
  t.match(await cli(['scale', 'web', '--to', '2', '--admin', url]), {
    code: 0,
    out: 'Already at 2 instances.\n',
  })
  control.onExecute = () => {
    throw new TidegateError('operation_running', 'op9 is running', { details: { operation_id: 'op9' } })
  }
  t.match(await cli(['scale', 'web', '--to', '2', '--admin', url]), {
    code: 1,
    err: 'tidegate: op9 is running\n',
  })
})

t.test('Ctrl-C leaves the operation running and says how to follow it', async t => {
  const { url } = await startAdmin(t)
  const running = startCli(['scale', 'web', '--to', '3', '--admin', url])
  await until('it waits', () => running.waiting())
  running.signal()
  const { code, err } = await running.done
  t.equal(code, 1)
  t.match(err, /goes on without you.*tidegate operations op1 --follow/)
})

t.test('drain waits for the proof', async t => {
  const { url, control } = await startAdmin(t)
  const flags = [
    '--grace',
    '1.5s',
    '--no-notify',
    '--sessions',
    'cut',
    '--close-code',
    '1012',
    '--spread',
    '1s',
  ]
  const drained = await cli(['drain', 'web/a', ...flags, '--admin', url])
  t.match(drained, {
    code: 0,
    out: 'web/a is drained after 120 ms: 0 in flight, 0 tunnels, 3 sessions left.\n',
  })
  t.match(control.asked[0]?.command, {
    kind: 'drain_backend',
    cluster: 'web',
    backend: 'a',
    policy: { gracePeriodMs: 1500, sessions: 'cut', tunnels: 'cut', closeCode: 1012, closeSpreadMs: 1000 },
  })
  control.onDrained = () => ({
    ...aProof,
    drained: false,
    in_flight: 4,
    tunnels: 1,
    oldest_tunnel_seconds: 90,
  })
  t.match(await cli(['drain', 'web/a', '--admin', url]), {
    code: 1,
    err: /not drained yet: 4 in flight, 1 tunnel.*oldest tunnel open for 1 min 30 s; its time ends at 2026-01-02T03:04:35/,
  })
  const begun = await cli(['drain', 'web/a', '--no-wait', '--json', '--admin', url])
  t.match(begun.json(), { backend: { id: 'a' } })
  const never = Promise.withResolvers<typeof aProof>()
  control.onDrained = () => never.promise
  const waiting = startCli(['drain', 'web/a', '--admin', url])
  await until('progress', () => waiting.out() !== '')
  waiting.signal()
  t.match(await waiting.done, {
    code: 1,
    out: /web\/a ready: 2 in flight, 1 tunnel, 7 sessions left/,
    err: /tidegate ready web\/a/,
  })
  never.resolve(aProof)
})

t.test('ready, maint, operations, history', async t => {
  const { url, control } = await startAdmin(t)
  t.match(await cli(['ready', 'web/a', '--admin', url]), { code: 0, out: 'web/a is ready.\n' })
  t.equal((await cli(['maint', 'web/a', '--admin', url])).code, 0)
  t.strictSame(
    control.asked.map(({ command }) => command.kind),
    ['ready_backend', 'maint_backend'],
  )
  t.match(await cli(['operations', '--admin', url, '--limit', '5']), {
    code: 0,
    out: /ID +CLUSTER[\s\S]*op1[\s\S]*op0/,
  })
  t.match(await cli(['operations', 'op1', '--admin', url]), { code: 0, out: /✓ prepare/ })
  t.match((await cli(['operations', 'op1', '--json', '--admin', url])).json(), anOperation())
  t.match(await cli(['operations', 'op1', '--cancel', '--admin', url]), { code: 0 })
  t.match(control.asked.at(-1)?.command, { kind: 'cancel_operation', operation: 'op1' })
  t.match(await cli(['history', 'web', '--admin', url]), {
    code: 0,
    out: /2026-01-02T00:00:00.000Z +cli +done +Scaled up/,
  })
  t.match(await cli(['history', '--admin', url]), { code: 0, out: /cli +web +done[\s\S]*local +- / })
})

t.test('doctor shows the server checks; one that fails is exit 1', async t => {
  const { url } = await startAdmin(t)
  const { code, out } = await cli(['doctor', '--admin', url])
  t.equal(code, 1)
  t.match(out, /^HAS +CHECK +FOUND +REMEDY\n/)
  t.match(out, /ok +node +Node 24/)
  t.match(out, /FAIL +server qemu +missing +apt-get install/)
  const json = await cli(['doctor', '--json', '--admin', url])
  t.equal(json.code, 1)
  t.equal(json.json().ok, false)
})

t.test('bad usage is exit 2', async t => {
  const cases: [string[], RegExp][] = [
    [['sacle'], /Did you mean scale\?/],
    [['scale', 'web'], /write --to N/],
    [['scale', 'web', '--to', 'many'], /whole number/],
    [['drain', 'web'], /write CLUSTER\/BACKEND/],
    [['drain', 'web/a', '--grace', '30'], /no unit; write `30s`/],
    [['status', '--admin', 'nowhere'], /not a URL/],
    [['status', '--colour'], /unknown option/],
    [['operations', '--cancel'], /needs the ID/],
  ]
  for (const [argv, said] of cases) t.match(await cli(argv), { code: 2, out: '', err: said }, argv.join(' '))
  const json = await cli(['drain', 'web', '--json'])
  t.equal(json.json().error.code, 'invalid_request')
  t.match(await cli(['--help']), { code: 0, out: /Exit: 0 done/ })
  t.match(await cli(['--version']), { code: 0, out: /^\d+\.\d+\.\d+\n$/ })
})

t.test('an admin API that cannot be reached is exit 3', async t => {
  const away = await cli(['status', '--admin', 'http://127.0.0.1:9'])
  t.match(away, { code: 3, err: /cannot reach http:\/\/127\.0\.0\.1:9 .*is `tidegate serve` running\?/ })
  const other = createServer((_request, response) => response.end('<html>')).listen(0, '127.0.0.1')
  t.teardown(() => other.close())
  await until('it listens', () => other.listening)
  const { port } = other.address() as AddressInfo
  t.match(await cli(['status', '--admin', `http://127.0.0.1:${port}`]), { code: 3, err: /not with JSON/ })
})

t.test('the token goes along', async t => {
  const seen: (string | undefined)[] = []
  const other = createServer((request, response) => {
    seen.push(request.headers.authorization)
    response.setHeader('content-type', 'application/json').end('{"operations":[]}')
  }).listen(0, '127.0.0.1')
  t.teardown(() => other.close())
  await until('it listens', () => other.listening)
  const { port } = other.address() as AddressInfo
  const env = { TIDEGATE_ADMIN: `http://127.0.0.1:${port}`, TIDEGATE_TOKEN: 'secret' }
  t.match(await cli(['operations'], { env }), { code: 0, out: 'no operations yet\n' })
  t.strictSame(seen, ['Bearer secret'])
})
