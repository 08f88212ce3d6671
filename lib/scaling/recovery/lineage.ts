/** Whose memory an instance has, from what the members say of themselves: written with its record, kept for sessions that outlive it. */
import { lineageOfClone } from '../../cluster/lineage.ts'
import type { AncestorRecord } from '../../store/store.ts'
import type { World } from '../world.ts'

/** Of a copy of that instance as of then. `golden`: it was saved before a client was there. */
export function lineageOf(
  { members }: Pick<World, 'members'>,
  source: { readonly instanceId: string; readonly atMs: number },
  golden: boolean,
): readonly AncestorRecord[] {
  const { instanceId: instance, atMs: asOfMs } = source
  const record = golden ? null : members.get(instance)
  return lineageOfClone({ instance, incarnation: record?.incarnation ?? null, asOfMs }, record?.lineage ?? [])
}
