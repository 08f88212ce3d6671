/**
 * Scaling on real parts, without a front door: the process driver, the demo application, HTTP probes, the store on disk.
 * A data plane that acknowledges at once stands in for the threads.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock as clock } from '../../../lib/clock.ts'
import { Board } from '../../../lib/cluster/board.ts'
import { Clusters } from '../../../lib/cluster/clusters.ts'
import type { NodeConfig } from '../../../lib/config/config.ts'
import { Events } from '../../../lib/events.ts'
import { createDriver } from '../../../lib/hypervisor/registry.ts'
import { silentLog as log } from '../../../lib/log.ts'
import { Scaling } from '../../../lib/scaling/scaling.ts'
import { openSqliteStore } from '../../../lib/store/sqlite.ts'
import { clusterConfig } from '../../support/scaling-lab.ts'
import { until } from '../../support/wait.ts'

const app = join(import.meta.dirname, '../../../examples/app/server.ts')
const MiB = 1024 ** 2
const waitMs = 60_000

/** A folder for a node and a store; what is held there ends with the test. */
function place(t: Test) {
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-'))
  const config: NodeConfig = {
    id: 'local',
    driver: 'process',
    zone: 'a',
    capacity: { cpus: 16, memoryBytes: 16_000 * MiB, diskBytes: 16_000 * MiB },
    directory: join(directory, 'local'),
    options: {},
  }
  t.teardown(async () => {
    const driver = createDriver(config, { clock, log })
    const { instances, snapshots } = await driver.inspect()
    await Promise.all([...instances, ...snapshots].map(({ name }) => driver.destroy(name)))
    rmSync(directory, { recursive: true, force: true })
  })
  return { config, path: join(directory, 'tidegate.db') }
}

/** One life of a controller. */
async function controller(t: Test, { config, path }: ReturnType<typeof place>) {
  const base = clusterConfig()
  const cluster = {
    ...base,
    instance: { ...base.instance!, template: { command: ['node', app] } },
    health: { ...base.health, path: '/healthz', intervalMs: 1_000 },
  }
  const store = await openSqliteStore(path)
  const events = new Events(clock.now)
  const port = { publish: async () => {}, closeTunnels: () => {}, keepTunnels: () => {}, cut: () => {} }
  const board = Board.create(1)
  const clusters = new Clusters({ configs: [cluster], board, port, clock, events, log, affinityKeys: [] })
  const driver = createDriver(config, { clock, log })
  const installation = 'test'
  const scaling = new Scaling({
    clusters,
    nodes: [{ config, driver }],
    store,
    clock,
    events,
    log,
    installation,
  })
  clusters.start(await scaling.membership())
  await scaling.recover()
  const running = scaling.running('web')
  if (running !== null) await scaling.wait(running, waitMs)
  const scale = async (target: number) => {
    const type = target > scaling.count('web') ? 'scale_out' : 'scale_in'
    const request = { type, target_count: target, immediate: false, drain_connections: true } as const
    return scaling.wait((await scaling.start('web', request, 'test')).id, waitMs)
  }
  const ask = async (id: string, path: string, init?: RequestInit) => {
    const { host, port } = clusters.backend('web', id)
    const response = await fetch(`http://${host}:${port}${path}`, init)
    return (await response.json()) as Record<string, unknown>
  }
  const close = async () => {
    await scaling.close()
    clusters.close()
    await store.close()
  }
  t.teardown(close)
  const ids = () => clusters.backends('web').map(backend => backend.id)
  return { store, clusters, driver, scaling, scale, ask, ids, close }
}

t.test('1 → 3 → replace → 1 with the sessions of the first in every clone', async t => {
  const where = place(t)
  const it = await controller(t, where)
  const [original] = it.ids()
  await it.ask(original!, '/sessions/anna', { method: 'POST', body: 'a basket' })

  const out = await it.scale(3)
  t.match(out, { status: 'completed', error: null })
  t.equal(it.ids().length, 3)
  for (const id of it.ids()) {
    t.match(await it.ask(id, '/sessions/anna'), { value: 'a basket', instance: id })
    t.match(await it.ask(id, '/whoami'), { incarnation: it.clusters.backend('web', id).incarnation })
  }

  const { id } = await it.scaling.start('web', { type: 'replace', instance_id: original! }, 'test')
  t.match(await it.scaling.wait(id, waitMs), { status: 'completed', error: null })
  t.notOk(it.ids().includes(original!))
  t.match(await it.ask(it.ids().at(-1)!, '/sessions/anna'), { value: 'a basket' })

  t.match(await it.scale(1), { status: 'completed', error: null })
  const held = await it.driver.inspect()
  t.strictSame(
    held.instances.map(instance => instance.name),
    it.ids(),
    'nobody else is left',
  )
  t.strictSame(held.snapshots, [])
  t.match(
    (await it.store.history('web', 3)).map(record => record.reason),
    [/^Scaled down from 3 to 1/, /^Replaced /, /^Scaled up from 1 to 3/],
  )
  await it.close()
})

t.test('instances outlive the controller; one that died meanwhile is made good', async t => {
  const where = place(t)
  const first = await controller(t, where)
  await first.scale(2)
  const before = first.ids()
  await first.close()

  const second = await controller(t, where)
  t.strictSame(second.ids(), before)
  const [victim, survivor] = before as [string, string]
  await second.ask(survivor, '/sessions/anna', { method: 'POST', body: 'a basket' })
  const { pid } = await second.ask(victim, '/whoami')
  await second.close()
  process.kill(Number(pid), 'SIGKILL')
  await until('its node knows', async () => {
    const { instances } = await second.driver.inspect()
    return instances.find(instance => instance.name === victim)?.state !== 'running'
  })

  const third = await controller(t, where)
  await until(
    'another is made',
    () => third.scaling.count('web') === 2 && third.scaling.running('web') === null,
  )
  t.ok(third.ids().includes(survivor))
  // What is left of the victim goes when it is old enough, which may be before or after.
  const lines = (await third.store.history('web', 9)).filter(({ action }) => action !== 'destroy_orphan')
  t.match(lines.slice(0, 2), [
    { actor: 'reconcile', reason: /^Scaled up from 1 to 2/ },
    { reason: /not running when Tidegate started/ },
  ])
  for (const id of third.ids()) t.match(await third.ask(id, '/sessions/anna'), { value: 'a basket' })
  await third.close()
})

t.test('a controller that stops in the middle leaves what the next one undoes', async t => {
  const where = place(t)
  const first = await controller(t, where)
  const request = { type: 'scale_out', target_count: 3, immediate: false, drain_connections: true } as const
  const { id } = await first.scaling.start('web', request, 'test')
  await until('it clones', async () => (await first.scaling.view(id)).steps.at(-1)?.step === 'clone')
  await first.close()

  const second = await controller(t, where)
  t.match(await second.scaling.view(id), { status: 'failed', error: { code: 'operation_interrupted' } })
  t.equal(second.ids().length, 1)
  const held = await second.driver.inspect()
  t.match(held, { instances: [{ name: second.ids()[0]!, state: 'running' }] })
  t.equal(held.instances.length, 1)
  t.strictSame(held.snapshots, [])
  await second.close()
})
