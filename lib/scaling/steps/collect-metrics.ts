/** What is there, and what it carries. */
import { collectMetrics } from '../metrics.ts'
import { type Step, shortMs } from '../step.ts'

export const collectMetricsStep: Step = {
  name: 'collect_metrics',
  timeoutMs: () => shortMs,
  run: async ({ world, cluster }) => ({ data: await collectMetrics(world, cluster) }),
}
