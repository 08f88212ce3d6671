/**
 * A thousand instances at a start, after a death in the middle of an operation in each of twenty clusters: every one of them that
 * lives serves, the dead are made up for, and nothing else is left. How long it takes is measured by `npm run bench:operations`.
 */
import t from 'tap'
import type { OperationRequest } from '../../lib/scaling/operation.ts'
import type { InstanceRecord } from '../../lib/store/store.ts'
import type { FakeInstance } from '../support/fake-driver.ts'
import { clusterConfig, Lab } from '../support/scaling-lab.ts'

const each = 50
const others = Array.from({ length: 19 }, (_, i) => `c${i + 1}`)
const clusters = ['web', ...others]
const longAgoMs = 1_600_000_000_000

async function thousand(): Promise<Lab> {
  const nodes = ['n1', 'n2', 'n3', 'n4'].map(id => ({ id, cpus: 400 }))
  const scaling = { ...clusterConfig().scaling, maxInstances: 100 }
  const lab = new Lab({ nodes, others, cluster: { scaling } })
  const records = clusters.flatMap(cluster => Array.from({ length: each }, (_, i) => put(lab, cluster, i)))
  await lab.store.write([
    { put: 'value', key: 'epochs', value: { current: 1, gaps: [] } },
    ...records.map(record => ({ put: 'instance', record }) as const),
  ])
  return lab
}

/** Runs on its node, and is in the store. */
function put(lab: Lab, cluster: string, index: number): InstanceRecord {
  const node = lab.nodes[index % lab.nodes.length]!
  const id = `${cluster}-first-${index + 1}`
  const address = { host: '127.0.0.1', port: node.nextPort() }
  const made = { operation: 'first', createdAtMs: longAgoMs }
  const incarnation = `life-${id}`
  const identity = {
    instanceId: id,
    incarnation,
    cluster,
    reason: 'created',
    entropy: '',
    wallClockMs: 0,
  } as const
  const owner = { installation: 'ours', cluster, operation: made.operation, epoch: 1 }
  const instance: FakeInstance = {
    ...{ name: id, owner, state: 'running', address, createdAtMs: longAgoMs, identity },
    ...{
      pid: address.port,
      residentBytes: 1,
      memory: [],
      snapshot: null,
      healthy: true,
      resources: null,
      busy: false,
    },
  }
  node.instances.set(id, instance)
  return { id, cluster, node: node.id, incarnation, address, origin: 'created', ...made }
}

const request = (cluster: string, index: number): OperationRequest =>
  index % 2 === 0
    ? { type: 'scale_out', target_count: each + 3, immediate: true, drain_connections: true }
    : { type: 'replace', instance_id: `${cluster}-first-${each}` }

const held = (lab: Lab) => lab.nodes.flatMap(node => [...node.instances.values()])

t.test(
  'after a death in twenty operations every one of a thousand serves, and nothing is left over',
  async t => {
    const lab = await thousand()
    await lab.boot()
    t.equal(lab.clusters.table().clusters.flatMap(({ members }) => members).length, 1_000, 'all serve')

    const begun = new Set<string>()
    lab.faults.driver = (point, name) => {
      if (point !== 'clone:running') return null
      begun.add(name.slice(0, name.indexOf('-')))
      return begun.size === clusters.length ? 'crash' : 'hang'
    }
    for (const [index, cluster] of clusters.entries())
      await lab.time.until(lab.scaling.start(cluster, request(cluster, index), 'test'))
    await lab.survive(() => new Promise(() => {}))
    t.ok(held(lab).length > 1_000, 'clones were half made')

    lab.faults = {}
    const node = lab.nodes[0]!
    for (const cluster of clusters) node.kill(`${cluster}-first-1`)
    for (const cluster of others) node.instances.get(`${cluster}-first-5`)!.state = 'paused'
    const left = { ...node.instances.get('web-first-5')!, name: 'web-former-1', state: 'stopped' as const }
    node.instances.set(left.name, left)
    await lab.boot()

    await lab.time.until(lab.settle())
    const living = clusters.flatMap(cluster =>
      Array.from({ length: each - 1 }, (_, i) => `${cluster}-first-${i + 2}`),
    )
    const serving = lab.clusters.table().clusters.flatMap(({ members }) => members.map(({ id }) => id))
    t.equal(serving.length, 1_000, 'a thousand serve: the dead are made up for')
    t.strictSame(
      living.filter(id => !serving.includes(id)),
      [],
      'everybody who lived is among them',
    )
    t.strictSame(
      held(lab)
        .map(({ name }) => name)
        .sort(),
      serving.sort(),
      'and nothing else is there',
    )
    t.ok(
      held(lab).every(({ state }) => state === 'running'),
      'nobody is paused',
    )
    t.strictSame(
      lab.nodes.flatMap(({ snapshots }) => [...snapshots.keys()]),
      [],
      'no snapshot is left',
    )
    const operations = await lab.store.operations({ limit: 1_000 })
    const outcomes = (actor: string) =>
      operations.filter(one => one.actor === actor).map(({ outcome }) => outcome)
    t.strictSame(
      outcomes('test'),
      clusters.map(() => 'failed'),
      'each operation was undone',
    )
    t.strictSame(
      outcomes('reconcile'),
      clusters.map(() => 'completed'),
      'and each place filled',
    )
    t.strictSame(lab.violations, [])
    await lab.close()
  },
)
