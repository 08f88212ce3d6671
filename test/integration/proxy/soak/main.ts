/**
 * `npm run soak -- --requests 2000000 [--clients 64] [--threads 2] [--backends 4]`: prints how it goes, and at the end what went wrong and
 * what is still held. Fails on a wrong answer, on anything that is held at the end, and on memory that grows: heap, buffers, the process. `SEED=n` repeats its chances.
 */
import { parseArgs } from 'node:util'
import { chosenSeed } from '../../../fuzz/random.ts'
import { type SoakReport, soak } from './run.ts'

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '100000' },
    clients: { type: 'string', default: '64' },
    threads: { type: 'string', default: '2' },
    backends: { type: 'string', default: '4' },
  },
})
const allowanceBytes = 16 * 2 ** 20
const mebibytes = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`
const seed = chosenSeed()
console.log(`seed ${seed}`)
let shownAt = 0
const report = await soak({
  requests: Number(values.requests),
  clients: Number(values.clients),
  threads: Number(values.threads),
  backends: Number(values.backends),
  seed,
  onProgress: (tally, { heapBytes, residentBytes, sockets, inFlight }) => {
    if (performance.now() < shownAt) return
    shownAt = performance.now() + 10_000
    const heap = heapBytes.map(mebibytes).join(' + ')
    console.log(
      `${tally.requests} requests, ${tally.wrong.length} wrong, ${inFlight} in flight, ${sockets} sockets, heap ${heap}, resident ${mebibytes(residentBytes)}`,
    )
  },
})
console.log(JSON.stringify(report, null, 2))
const faults = faultsOf(report)
for (const fault of faults) console.log(`FAULT ${fault}`)
process.exitCode = faults.length === 0 ? 0 : 1

function faultsOf({ wrong, died, before, after, floors }: SoakReport): string[] {
  const faults = [...wrong]
  if (died) faults.push('the process died')
  if (after.inFlight + after.tunnels > 0) faults.push('the board is not back to zero')
  if (after.sockets > before.sockets) faults.push(`${after.sockets - before.sockets} sockets are left`)
  for (const [what, of] of Object.entries(floors)) {
    const seen = of.filter(bytes => bytes > 0)
    // The first part warms up; the least of each later part is what is really held.
    // What a process has in memory comes and goes with its collections: there the first half is what the end is held against.
    const early = what === 'resident' ? Math.max(0, ...seen.slice(1, 5)) : (seen[1] ?? 0)
    const late = seen.at(-1) ?? 0
    if (seen.length > 3 && late > early * 1.5 + allowanceBytes)
      faults.push(`the least of ${what} memory grew from ${early} to ${late} bytes`)
  }
  return faults
}
