/** What is known of an instance before a plan is made: ready, idle, and like any other unless it is said. */
import type { InstanceFacts } from '../../lib/scaling/facts.ts'

export const instanceFacts = (id: string, over: Partial<InstanceFacts> = {}): InstanceFacts => ({
  id,
  node: 'n1',
  state: 'ready',
  healthy: true,
  reality: 'running',
  in_flight: 0,
  tunnels: 0,
  sessions: null,
  resident_bytes: null,
  origin: 'cloned',
  created_at_ms: 1,
  ...over,
})
