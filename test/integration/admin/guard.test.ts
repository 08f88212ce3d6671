/** Web pages are kept away from an admin API that asks for no password. */
import t from 'tap'
import { WebSocket } from 'ws'
import { startAdmin } from '../../support/admin.ts'

const scale = { method: 'POST', body: { target_count: 3 } }
const path = '/api/v1/clusters/web/scale'

t.test('foreign Host headers are refused: a name that somebody pointed here', async t => {
  const { ask, port } = await startAdmin(t)
  for (const host of [
    'evil.example',
    `evil.example:${port}`,
    '127.0.0.1.evil.example',
    '10.0.0.1',
    'localhost.evil',
  ])
    t.match(
      await ask('/api/v1/clusters', { headers: { host } }),
      { status: 403, body: { error: { code: 'forbidden' } } },
      host,
    )
  for (const host of [
    'localhost',
    `localhost:${port}`,
    `127.0.0.1:${port}`,
    '127.9.9.9',
    `[::1]:${port}`,
    'LOCALHOST',
  ])
    t.equal((await ask('/api/v1/clusters', { headers: { host } })).status, 200, host)
})

t.test('pages of other origins change nothing', async t => {
  const { ask, port, control } = await startAdmin(t)
  const own = `http://127.0.0.1:${port}`
  const foreign: Record<string, string>[] = [
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { origin: `http://127.0.0.1:${port + 1}` },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
    { origin: own, 'sec-fetch-site': 'cross-site' },
  ]
  for (const headers of foreign)
    t.equal((await ask(path, { ...scale, headers })).status, 403, JSON.stringify(headers))
  t.equal(control.asked.length, 0)
  for (const headers of [{}, { origin: own }, { origin: own, 'sec-fetch-site': 'same-origin' }])
    t.equal((await ask(path, { ...scale, headers })).status, 202, JSON.stringify(headers))
  t.equal(control.asked.length, 3)
})

t.test('the event stream is guarded alike', async t => {
  const { port } = await startAdmin(t)
  const status = (headers: Record<string, string>, target = '/api/v1/events') =>
    new Promise<number>((resolve, reject) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}${target}`, { headers })
      socket.on('open', () => {
        socket.close()
        resolve(101)
      })
      socket.on('unexpected-response', (_request, response) => {
        response.resume()
        resolve(response.statusCode ?? 0)
      })
      socket.on('error', reject)
    })
  t.equal(await status({}), 101)
  t.equal(await status({ origin: `http://127.0.0.1:${port}` }), 101)
  t.equal(await status({ origin: 'https://evil.example' }), 403)
  t.equal(await status({ host: 'evil.example' }), 403)
  t.equal(await status({}, '/other'), 404)
  t.equal(await status({}, '/api/v1/events?since=x'), 400)
})
