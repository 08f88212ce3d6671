/** What holds whenever no operation is under way and reconcile has been round, whatever happened before. */
import type { Test } from 'tap'
import { type GoldenValue, goldenKey } from '../../lib/scaling/facts.ts'
import { isGolden } from '../../lib/scaling/names.ts'
import { next } from '../../lib/scaling/next.ts'
import { pooled } from '../../lib/scaling/readiness/pool.ts'
import { recipeOf } from '../../lib/scaling/recipes.ts'
import { shapeOf } from '../../lib/scaling/runner.ts'
import type { Lab } from './scaling-lab.ts'

/** Everything that is wrong, in words; empty when all is well. */
export async function faultsOf(lab: Lab): Promise<readonly string[]> {
  const faults = [...lab.violations]
  const wrong = (what: string) => faults.push(what)
  const { instances } = await lab.store.membership()
  const pools = await Promise.all(lab.configs.map(({ id }) => pooled(lab, id)))
  const standing = pools.flat().filter(({ of, state }) => of !== undefined && state === 'kept')
  const pool = new Set(standing.map(({ name }) => name))
  const all = lab.nodes.flatMap(node => [...node.instances.values()])
  for (const { name } of standing)
    if (all.find(one => one.name === name)?.state !== 'paused') wrong(`${name} does not stand by`)
  const held = all.filter(({ name }) => !pool.has(name))
  const stored = instances.map(record => record.id).sort()
  same('held instances and stored ones', held.map(one => one.name).sort(), stored, wrong)
  await snapshotsLeft(lab, all, wrong)
  for (const one of held) if (one.state !== 'running') wrong(`${one.name} is ${one.state}`)
  for (const record of instances) {
    const identity = held.find(one => one.name === record.id)?.identity
    if (identity?.incarnation !== record.incarnation) wrong(`${record.id} believes it is somebody else`)
    const made = lab.config.instance!.resources
    const { resources, unheard = false } = held.find(one => one.name === record.id) ?? { resources: null }
    const has = resources ?? made
    const counted = record.resources ?? made
    if (has.cpus !== counted.cpus && !unheard)
      wrong(`${record.id} has ${has.cpus} CPUs, and ${counted.cpus} are counted`)
  }
  for (const { id } of lab.configs) {
    const own = instances.filter(({ cluster }) => cluster === id).map(record => record.id)
    clusterFaults(lab, id, own.sort(), wrong)
  }
  await journalsExplain(lab, wrong)
  return faults
}

function clusterFaults(
  lab: Lab,
  cluster: string,
  stored: readonly string[],
  wrong: (what: string) => void,
): void {
  const backends = lab.clusters.backends(cluster)
  const serving = backends.map(backend => backend.id).sort()
  const named = lab.clusters
    .table()
    .clusters.filter(({ id }) => id === cluster)
    .flatMap(({ members }) => members.map(({ id }) => id))
  same('stored instances and backends', stored, serving, wrong)
  same('backends and the table', serving, [...named].sort(), wrong)
  for (const { id, state } of backends) if (state !== 'ready') wrong(`backend ${id} is ${state}`)
  const { minInstances, maxInstances } = lab.config.scaling
  const few = stored.length < minInstances && !(noRoom(lab, cluster) && nowhere(lab))
  if (few || stored.length > maxInstances) wrong(`${stored.length} instances of ${cluster}`)
  const wanted = lab.scaling.repairs.wanted(cluster)
  if (stored.length < wanted && !noRoom(lab, cluster))
    wrong(`${stored.length} instances of ${cluster} where ${wanted} are wanted`)
}

/** But for the golden ones of now, and those on which somebody's memory rests. */
async function snapshotsLeft(
  lab: Lab,
  instances: readonly { readonly snapshot: string | null }[],
  wrong: (what: string) => void,
): Promise<void> {
  const golden = await Promise.all(lab.configs.map(({ id }) => lab.store.value(goldenKey(id))))
  const kept = new Set(golden.flatMap(value => (value as GoldenValue | null)?.snapshot ?? []))
  for (const { snapshot } of instances) if (snapshot !== null && isGolden(snapshot)) kept.add(snapshot)
  const left = lab.nodes.flatMap(node => [...node.snapshots.keys()])
  same(
    'snapshots left',
    left.filter(name => !kept.has(name)),
    [],
    wrong,
  )
}

/** Who died while somebody was made in his room cannot be made again. */
export const noRoom = (lab: Lab, cluster = lab.config.id): boolean =>
  lab.scaling.repairs.of(cluster)?.fault?.code === 'no_capacity'

/** Every node takes nobody, or has no room for one more: a clone is as large as its source, which may have grown. */
export function nowhere(lab: Lab): boolean {
  const each = lab.config.instance!.resources.cpus
  const sizes = lab.nodes.map(({ instances }) =>
    [...instances.values()].map(({ resources }) => resources?.cpus ?? each),
  )
  const largest = Math.max(each, ...sizes.flat())
  return lab.nodeConfigs.every((config, index) => {
    const used = sizes[index]!.reduce((sum, cpus) => sum + cpus, 0)
    const { drain } = lab.scaling.report.nodeFacts(config, null)
    return drain !== null || config.capacity.cpus - used < largest
  })
}

export async function check(t: Test, lab: Lab): Promise<void> {
  t.strictSame(await faultsOf(lab), [], 'nothing is wrong')
}

async function journalsExplain(lab: Lab, wrong: (what: string) => void): Promise<void> {
  for (const record of await lab.store.operations({ limit: 1_000 })) {
    const journal = await lab.store.journal(record.id)
    if (record.outcome === null) {
      wrong(`operation ${record.id} has not ended`)
      continue
    }
    const decision = next(shapeOf(recipeOf(record)), journal)
    if (decision.act !== 'end' || decision.outcome !== record.outcome)
      wrong(`operation ${record.id} is ${record.outcome}, its journal says ${JSON.stringify(decision)}`)
    const seqs = journal.map(entry => entry.seq)
    if (seqs.some((seq, index) => seq !== index + 1)) wrong(`operation ${record.id} has gaps: ${seqs}`)
    const view = await lab.scaling.view(record.id)
    if ((view.status === 'completed') !== (view.error === null))
      wrong(`operation ${record.id}: ${view.status}, error ${JSON.stringify(view.error)}`)
  }
}

function same(what: string, a: readonly string[], b: readonly string[], wrong: (what: string) => void): void {
  if (a.join() !== b.join()) wrong(`${what}: ${a.join(' ') || 'none'} | ${b.join(' ') || 'none'}`)
}
