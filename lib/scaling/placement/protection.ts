/** Protecting an instance from scale-in: a mark on its record that only an operator sets and takes back. */
import { TidegateError } from '../../errors.ts'
import type { InstanceRecord, Write } from '../../store/store.ts'
import { commit, type World } from '../world.ts'

/** With `line` in the same transaction. Throws `unknown_instance`. Setting what is set already writes the line only. */
export async function protect(
  world: World,
  cluster: string,
  id: string,
  on: boolean,
  line: Write,
): Promise<void> {
  const record = mustBeMember(world, cluster, id)
  const { protected: _, ...rest } = record
  await commit(world, [{ put: 'instance', record: on ? { ...rest, protected: true } : rest }, line])
}

/** Before the point of no return: who was protected since it was chosen stays. */
export function mustNotBeProtected(world: World, ids: readonly string[]): void {
  const kept = ids.filter(id => world.members.get(id)?.protected)
  if (kept.length === 0) return
  throw new TidegateError(
    'instances_protected',
    `${kept.join(', ')} was protected while it was leaving; it stays`,
    { details: { instances: kept } },
  )
}

export function mustBeMember(world: World, cluster: string, id: string): InstanceRecord {
  world.clusters.config(cluster)
  const record = world.members.get(id)
  if (record?.cluster === cluster) return record
  throw new TidegateError(
    'unknown_instance',
    `cluster \`${cluster}\` has no instance \`${id}\`; a static backend is never removed by scaling`,
    { details: { instance_id: id } },
  )
}
