/** The new instances serve, as seen from here: in the table, and answering. What died since it was verified fails the step. */
import { TidegateError } from '../../errors.ts'
import { type AllocateData, doneData } from '../facts.ts'
import { ensureRegistered } from '../membership-change.ts'
import { type Step, shortMs } from '../step.ts'

export const warmUp: Step = {
  name: 'warm_up',
  timeoutMs: () => shortMs,
  // A new instance that is dead does not come back by asking again.
  final: true,
  async run({ world, cluster, config, journal }, _intent, signal) {
    const { items } = doneData<AllocateData>(journal, 'allocate')
    const records = items.map(item => world.members.get(item.name)).filter(record => record !== null)
    if (records.length < items.length)
      throw new TidegateError('instance_died', 'a new instance was gone before it could serve')
    await ensureRegistered(world, cluster, records)
    for (const record of records) {
      const target = world.clusters.target(cluster, record.address)
      const verdict = await world.probe(target, config.health, signal)
      if (!verdict.ok)
        throw new TidegateError(
          'instance_unhealthy',
          `instance ${record.id} stopped answering: ${verdict.reason}`,
          {
            details: { instance_id: record.id },
          },
        )
    }
    return { data: { ready: records.map(record => record.id) } }
  },
}
