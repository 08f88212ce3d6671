/**
 * The churn in two minutes: every kind of action under load, and time between them in which nothing is to happen. Processes bear most of it; beside
 * them a cluster of VMs, where there is QEMU, is resized too. `npm run churn -- --minutes 30` is the long one; `SEED=n` repeats the actions of a run.
 */
import t from 'tap'
import { chosenSeed } from '../../fuzz/random.ts'
import { leftOut } from '../../support/left-out.ts'
import { onPath } from '../../support/on-path.ts'
import { churn } from './churn.ts'
import type { ClusterOptions } from './cluster-churn.ts'

const seed = chosenSeed()
const vms = ['qemu-system-x86_64', 'busybox'].every(onPath)
if (!vms) leftOut(t, 'the churn of VMs, and with it resize (QEMU, busybox): npm run setup')

const processes: ClusterOptions = {
  // Each of the six cards, and a scale before a killing that would have met somebody who is alone.
  ...{ id: 'web', driver: 'process', maxInstances: 4, actionsMin: 7, restSeconds: 4 },
  ...{ clients: 32, webSockets: 10, rate: 100 },
  ...{ ttlSeconds: 2, graceSeconds: 4, sessionMs: [200, 1_500] },
}
/** Few and slow: they are emulated, on processors that other tests need. */
const machines: ClusterOptions = {
  ...{ id: 'vms', driver: 'qemu', maxInstances: 2, actionsMin: 3, restSeconds: 4 },
  deck: ['resize', 'scale', 'replace'],
  ...{ clients: 3, webSockets: 1, rate: 1 },
  ...{ ttlSeconds: 10, graceSeconds: 20, sessionMs: [1_000, 6_000] },
}

t.test(`scaled, replaced, resized, moved and shot at under load, seed ${seed}`, async t => {
  const clusters = vms ? [processes, machines] : [processes]
  const report = await churn({ seed, seconds: 120, clusters, say: line => t.comment(line) })
  t.comment(JSON.stringify(report))
  t.same(report.faults, [], `no request failed, no session was lost, nothing is left; seed ${seed}`)
  const kinds = ['scale', 'replace', 'drain_node', 'kill', ...(vms ? ['resize'] : [])]
  for (const kind of kinds) t.ok((report.actions[kind] ?? 0) > 0, `${kind} was among it`)
  const { requests, sessions, echoes, told } = report.clusters.web!
  t.ok(requests > 8_000 && sessions > 1_000, `${requests} requests of ${sessions} sessions`)
  t.ok(echoes > 100 && told > 0, `${echoes} echoes; ${told} WebSockets were told to go`)
})
