/** What holds whenever no operation is under way and reconcile has been round, whatever happened before. */
import type { Test } from 'tap'
import { next } from '../../lib/scaling/next.ts'
import { pooled } from '../../lib/scaling/readiness/pool.ts'
import { recipeOf } from '../../lib/scaling/recipes.ts'
import { shapeOf } from '../../lib/scaling/runner.ts'
import type { Lab } from './scaling-lab.ts'

/** Everything that is wrong, in words; empty when all is well. */
export async function faultsOf(lab: Lab): Promise<readonly string[]> {
  const faults = [...lab.violations]
  const wrong = (what: string) => faults.push(what)
  const standing = (await pooled(lab, lab.config.id)).filter(
    ({ of, state }) => of !== undefined && state === 'kept',
  )
  const pool = new Set(standing.map(({ name }) => name))
  const all = lab.nodes.flatMap(node => [...node.instances.values()])
  for (const { name } of standing)
    if (all.find(one => one.name === name)?.state !== 'paused') wrong(`${name} does not stand by`)
  const held = all.filter(({ name }) => !pool.has(name))
  const { instances } = await lab.store.membership()
  const stored = instances.map(record => record.id).sort()
  const serving = lab.backends().map(backend => backend.id)
  const named = lab.clusters.table().clusters.flatMap(cluster => cluster.members.map(member => member.id))
  same('held instances and stored ones', held.map(one => one.name).sort(), stored, wrong)
  same('stored instances and backends', stored, [...serving].sort(), wrong)
  same('backends and the table', [...serving].sort(), [...named].sort(), wrong)
  same(
    'snapshots left',
    lab.nodes.flatMap(node => [...node.snapshots.keys()]),
    [],
    wrong,
  )
  for (const one of held) if (one.state !== 'running') wrong(`${one.name} is ${one.state}`)
  for (const { id, state } of lab.backends()) if (state !== 'ready') wrong(`backend ${id} is ${state}`)
  for (const record of instances) {
    const identity = held.find(one => one.name === record.id)?.identity
    if (identity?.incarnation !== record.incarnation) wrong(`${record.id} believes it is somebody else`)
  }
  const { minInstances, maxInstances } = lab.config.scaling
  if (stored.length < minInstances || stored.length > maxInstances) wrong(`${stored.length} instances`)
  const wanted = lab.scaling.repairs.wanted(lab.config.id)
  if (stored.length < wanted && !noRoom(lab)) wrong(`${stored.length} instances where ${wanted} are wanted`)
  await journalsExplain(lab, wrong)
  return faults
}

/** Who died while somebody was made in his room cannot be made again. */
export const noRoom = (lab: Lab): boolean =>
  lab.scaling.repairs.of(lab.config.id)?.fault?.code === 'no_capacity'

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
