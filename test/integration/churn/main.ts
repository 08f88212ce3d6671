/**
 * `npm run churn -- --minutes 30 [--driver process|qemu] [--seed N] [--rate N] [--clients N] [--instances N]`: says what it does, and at the end what
 * clients saw and what is left behind. Fails on a request that failed, a session that was lost, on anything that is left. The actions of a seed are
 * the same each time. What Tidegate warns of goes to standard error.
 */
import { parseArgs } from 'node:util'
import { createLog } from '../../../lib/log.ts'
import { chosenSeed } from '../../fuzz/random.ts'
import { churn } from './churn.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    driver: { type: 'string', default: 'process' },
    seed: { type: 'string' },
    rate: { type: 'string' },
    clients: { type: 'string' },
    instances: { type: 'string' },
  },
})
const { driver } = values
if (driver !== 'process' && driver !== 'qemu') throw new Error(`--driver ${driver}: process or qemu`)
const vm = driver === 'qemu'
const seconds = Number(values.minutes) * 60
if (!(seconds > 0)) throw new Error(`--minutes ${values.minutes}: not a number of minutes`)
const seed = values.seed === undefined ? chosenSeed() : Number(values.seed) >>> 0
const ending = new AbortController()
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => ending.abort())
console.log(`seed ${seed}, ${values.minutes} minutes on ${driver}`)
const report = await churn({
  ...{ driver, seed, seconds, actionsMin: 1 },
  maxInstances: Number(values.instances ?? (vm ? 3 : 6)),
  clients: Number(values.clients ?? (vm ? 16 : 64)),
  webSockets: vm ? 10 : 20,
  rate: values.rate === undefined ? null : Number(values.rate),
  // Half a minute in which nothing of ours runs is nothing unusual on a machine with other work.
  ...(vm ? { ttlSeconds: 20, graceSeconds: 60 } : { ttlSeconds: 5, graceSeconds: 20 }),
  sessionMs: [500, 6_000],
  signal: ending.signal,
  log: createLog('warn'),
  say: line => console.log(`${new Date().toISOString().slice(11, 19)} ${line}`),
})
const { faults, ...numbers } = report
console.log(JSON.stringify(numbers, null, 2))
for (const fault of faults.slice(0, 50)) console.log(`FAULT ${fault}`)
console.log(faults.length === 0 ? 'nothing failed, nothing lost, nothing left' : `${faults.length} faults`)
process.exitCode = faults.length === 0 ? 0 : 1
