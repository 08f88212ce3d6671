/**
 * `npm run churn -- --minutes 30 [--driver both|process|qemu] [--seed N] [--rate N] [--clients N] [--instances N]`: says what it does, and at the end
 * what clients saw and what is left behind. Fails on a request that failed, a session that was lost, on anything that is left. The actions of a seed
 * are the same each time. What Tidegate warns of goes to standard error.
 *
 * `both`: a cluster of processes bears the load, and beside it one of VMs is scaled, replaced, resized, moved and shot at under a few requests a
 * second of its own, which is what emulated machines can bear. `--rate`, `--clients` and `--instances` are those of the first cluster.
 */
import { parseArgs } from 'node:util'
import { createLog } from '../../../lib/log.ts'
import { chosenSeed } from '../../fuzz/random.ts'
import { churn } from './churn.ts'
import type { ClusterOptions } from './cluster-churn.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    driver: { type: 'string', default: 'both' },
    seed: { type: 'string' },
    rate: { type: 'string' },
    clients: { type: 'string' },
    instances: { type: 'string' },
  },
})
// Half a minute in which nothing of ours runs is nothing unusual on a machine with other work.
const processes: ClusterOptions = {
  ...{ id: 'web', driver: 'process', maxInstances: 6, actionsMin: 1, restSeconds: 0 },
  ...{ clients: 64, webSockets: 20, rate: null },
  ...{ ttlSeconds: 5, graceSeconds: 20, sessionMs: [500, 6_000] },
}
const machines: ClusterOptions = {
  ...{ id: 'vms', driver: 'qemu', maxInstances: 3, actionsMin: 1, restSeconds: 0 },
  ...{ clients: 8, webSockets: 5, rate: null },
  ...{ ttlSeconds: 20, graceSeconds: 60, sessionMs: [500, 6_000] },
}
const given = (name: 'rate' | 'clients' | 'instances') =>
  values[name] === undefined ? null : Number(values[name])
const chosen: Readonly<Record<string, readonly ClusterOptions[]>> = {
  // An emulated machine is at work for a tenth of a second for each request.
  both: [processes, { ...machines, rate: 4 }],
  process: [processes],
  qemu: [{ ...machines, clients: 16, webSockets: 10 }],
}
const clusters = chosen[values.driver]?.map((one, i): ClusterOptions => {
  if (i > 0) return one
  const { rate, clients, maxInstances } = one
  return {
    ...one,
    rate: given('rate') ?? rate,
    clients: given('clients') ?? clients,
    maxInstances: given('instances') ?? maxInstances,
  }
})
if (clusters === undefined) throw new Error(`--driver ${values.driver}: both, process or qemu`)
const seconds = Number(values.minutes) * 60
if (!(seconds > 0)) throw new Error(`--minutes ${values.minutes}: not a number of minutes`)
const seed = values.seed === undefined ? chosenSeed() : Number(values.seed) >>> 0
const ending = new AbortController()
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => ending.abort())
console.log(
  `seed ${seed}, ${values.minutes} minutes on ${clusters.map(({ driver }) => driver).join(' and ')}`,
)
const report = await churn({
  ...{ seed, seconds, clusters },
  signal: ending.signal,
  log: createLog('warn'),
  say: line => console.log(`${new Date().toISOString().slice(11, 19)} ${line}`),
})
const { faults, ...numbers } = report
console.log(JSON.stringify(numbers, null, 2))
for (const fault of faults.slice(0, 50)) console.log(`FAULT ${fault}`)
console.log(faults.length === 0 ? 'nothing failed, nothing lost, nothing left' : `${faults.length} faults`)
process.exitCode = faults.length === 0 ? 0 : 1
