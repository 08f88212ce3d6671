/** `serve` as a process: SIGHUP reads the file again, SIGTERM ends its WebSockets one after another within the grace period. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { asker } from '../../support/admin.ts'
import { origin } from '../../support/origin.ts'
import { Echoing } from '../../support/reloadable.ts'
import { until } from '../../support/wait.ts'

const main = join(import.meta.dirname, '../../../lib/cli/main.ts')

t.test('reloads on SIGHUP and on request, says why not, and leaves in time', async t => {
  const [a, b] = [await origin(t, 'a'), await origin(t, 'b')]
  const file = join(t.testdir(), 'tidegate.yaml')
  const write = (route: string, more = '') =>
    writeFileSync(
      file,
      `
listeners: [{ address: "127.0.0.1:0" }]
admin: { address: "127.0.0.1:0" }
threads: 1
store: { kind: memory }
shutdown: { grace: 4s, close_code: 1012 }
clusters:
  - { id: web, backends: [{ id: a, address: "127.0.0.1:${a.port}" }] }
  - { id: other, routes: [{ path: ${route} }], backends: [{ id: b, address: "127.0.0.1:${b.port}" }] }
${more}`,
    )
  write('/one')
  const child = spawn(process.execPath, [main, 'serve', '-c', file, '--log-level', 'silent'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  let out = ''
  let err = ''
  child.stdout.on('data', chunk => {
    out += chunk
  })
  child.stderr.on('data', chunk => {
    err += chunk
  })
  const exit = once(child, 'close')
  const [front, admin] = await until('the announcement', () => {
    const ports = [...out.matchAll(/127\.0\.0\.1:(\d+)/g)].map(([, port]) => Number(port))
    return ports.length === 2 ? (ports as [number, number]) : null
  })
  const sockets = await Promise.all(Array.from({ length: 12 }, () => Echoing.open(front)))
  const ask = asker(front)

  write('/two')
  child.kill('SIGHUP')
  await until('the reload to be told', () => err.includes('reloaded: cluster other: routes\n'))
  t.match([(await ask('/two')).text, (await ask('/one')).text], ['b', 'a'])

  write('three', 'no_such_key: 1')
  child.kill('SIGHUP')
  await until('the faults to be told', () => /not reloaded: .*2 faults/.test(err))
  t.match(err, /tidegate\.yaml:9:\d+ clusters\[1\]\.routes\[0\]\.path: `three` is not a path/)
  t.match(err, /no_such_key/)
  t.equal((await ask('/two')).text, 'b', 'the old one goes on')

  write('/three')
  const api = asker(admin)
  const reload = await api('/api/v1/reload', { method: 'POST' })
  t.match(reload, { status: 200, body: { changed: true, changes: ['cluster other: routes'], leaving: [] } })
  t.match(await api('/api/v1/reload', { method: 'POST' }), { body: { changed: false } })
  write('/three', 'threads: 2')
  t.match(await api('/api/v1/reload', { method: 'POST' }), { status: 400 }, 'a key twice')
  const { body } = await api('/api/v1/clusters/other/history')
  t.strictSame(
    body.history.map(({ actor, reason }: { actor: string; reason: string }) => `${actor}: ${reason}`),
    [
      'api: Reloaded the configuration: cluster other: routes',
      'signal: Reloaded the configuration: cluster other: routes',
    ],
  )
  await Promise.all(sockets.map(socket => socket.echo()))

  const order: number[] = []
  const closes = sockets.map(async ({ closed }) => {
    const code = await closed
    order.push(sockets.filter(({ open }) => open).length)
    return code
  })
  child.kill('SIGTERM')
  t.strictSame(new Set(await Promise.all(closes)), new Set([1012]))
  t.ok(new Set(order).size >= 6, `they did not end together: ${order}`)
  t.strictSame(await exit, [0, null])
})
