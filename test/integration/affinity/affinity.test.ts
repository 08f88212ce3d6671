/** Clients keep their backend: through real threads, connections of their own, and everything that changes meanwhile. */
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { drainPolicy } from '../../support/drain-policy.ts'
import { clusterOf, frontDoor } from '../../support/front-door.ts'
import { get } from '../../support/load.ts'
import { origin } from '../../support/origin.ts'
import { until } from '../../support/wait.ts'

const names = ['a', 'b', 'c', 'd']
const byCookie = { affinity: { method: 'cookie', name: 'tidegate', ttlSeconds: 600 } } as const

async function scene(t: Test, threads: number, over: object = byCookie) {
  const ports: Record<string, number> = {}
  for (const name of names) ports[name] = (await origin(t, name)).port
  const door = await frontDoor(t, [clusterOf(ports, over)], { threads })
  /** One request on a connection of its own: it may fall on any thread. */
  const ask = async (jar: Map<string, string>) => {
    const { status, body } = await get(door.port, '/', { jar })
    if (status !== 200) throw new Error(`status ${status}: ${body}`)
    return body
  }
  return { ...door, ask }
}

const newBackend = (id: string, port: number) => ({
  id,
  host: '127.0.0.1',
  port,
  weight: 1,
  incarnation: `life-of-${id}`,
  instance: null,
  verified: true,
  mark: null,
})

for (const threads of [0, 2]) {
  t.test(`threads: ${threads}: nobody moves but who has to`, async t => {
    const { ask, clusters } = await scene(t, threads)
    const clients = await Promise.all(
      Array.from({ length: 24 }, async () => {
        const jar = new Map<string, string>()
        return { jar, home: await ask(jar) }
      }),
    )
    t.strictSame(new Set(clients.map(({ home }) => home)), new Set(names), 'new clients are spread')
    const strays = async () => {
      const answers = await Promise.all(
        clients.flatMap(client =>
          Array.from({ length: 3 }, async () => [client.home, await ask(client.jar)]),
        ),
      )
      return answers.filter(([home, answer]) => home !== answer)
    }
    t.strictSame(await strays(), [], 'every request, on whichever thread')
    await until('all sessions are counted', () => {
      const sessions = clusters.backends('web').map(backend => backend.sessions ?? 0)
      return sessions.reduce((sum, count) => sum + count, 0) === clients.length
    })

    const e = await origin(t, 'e')
    const duringChanges = strays()
    await clusters.change('web', { add: [newBackend('e', e.port)] })
    await clusters.setAffinityKeys([
      { id: 2, key: new Uint8Array(32).fill(8) },
      { id: 1, key: new Uint8Array(32).fill(7) },
    ])
    clusters.fence('web', 'a', 'test')
    t.strictSame(await duringChanges, [], 'while a backend comes, keys change and one is fenced')
    t.strictSame(await strays(), [], 'and after it')
    await clusters.setAffinityKeys([{ id: 2, key: new Uint8Array(32).fill(8) }])
    t.strictSame(await strays(), [], 'every cookie was renewed under the new key')

    const proof = await clusters.drain('web', 'a', drainPolicy({ gracePeriodMs: 5000 }))
    const bound = clients.filter(({ home }) => home === 'a')
    t.match(proof, { drained: true, in_flight: 0, tunnels: 0, sessions: bound.length })
    t.ok(bound.length > 0)
    await clusters.change('web', { remove: ['a'] })
    t.match(await clusters.waitGone('web', 'a', 5000), { drained: true })
    for (const client of bound) {
      client.home = await ask(client.jar)
      t.not(client.home, 'a')
    }
    t.strictSame(await strays(), [], 'who moved stays where it went, the others never moved')
  })
}

t.test('a WebSocket goes where its cookie says, and is told 1001 when the grace period is over', async t => {
  const { ask, clusters, port } = await scene(t, 2)
  const jar = new Map<string, string>()
  const home = await ask(jar)
  const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
  const sockets = await Promise.all(
    Array.from({ length: 6 }, async () => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/`, { headers: { cookie } })
      await once(socket, 'open')
      return socket
    }),
  )
  await until('all is counted', () => {
    const { tunnels, sessions } = clusters.backend('web', home)
    return tunnels === 6 && sessions === 1
  })
  const closed = sockets.map(socket => once(socket, 'close'))
  const drained = clusters.drain('web', home, drainPolicy({ gracePeriodMs: 50 }))
  for (const [code] of await Promise.all(closed)) t.equal(code, 1001)
  t.match(await drained, { drained: true, tunnels: 0, deadline_reached: true, sessions: 1 })
  t.not(await ask(jar), home, 'when the grace period is over its clients go elsewhere')
})

t.test('client_ip: one address, one backend, on every thread', async t => {
  const { ask, clusters } = await scene(t, 2, { affinity: { method: 'client_ip' } })
  const answers = await Promise.all(Array.from({ length: 20 }, () => ask(new Map())))
  t.equal(new Set(answers).size, 1)
  clusters.mark('web', answers[0]!, 'maint')
  const others = await Promise.all(Array.from({ length: 20 }, () => ask(new Map())))
  t.equal(new Set(others).size, 1, 'the next on the ring')
  t.not(others[0], answers[0])
})
