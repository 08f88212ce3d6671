/**
 * The fuzz tests for as long as one likes: `npm run fuzz -- --seconds 600`. `SEED=n` repeats a run. Prints what it did, and the texts that
 * show what went wrong.
 */
import { parseArgs } from 'node:util'
import { answerLane } from './answer-lane.ts'
import { answersToControlLane } from './answers-to-control-lane.ts'
import { entranceLane } from './entrance-lane.ts'
import { guestLane } from './guest-lane.ts'
import { chosenSeed } from './random.ts'
import { requestLane } from './request-lane.ts'
import { run } from './run.ts'
import { tlsLane } from './tls-lane.ts'
import { tunnelLane } from './tunnel-lane.ts'

/** What is tried in turn, and how its steps are called. */
const lanes = [
  ['request texts', requestLane],
  ['answers', answerLane],
  ['PROXY headers', entranceLane],
  ['tunnels', tunnelLane],
  ['spoilt TLS connections', tlsLane],
  ['answers to control', answersToControlLane],
  ["answers of a guest's agent", guestLane],
] as const

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' } } })
const seconds = Number(values.seconds)
if (!(seconds > 0)) throw new Error(`--seconds ${values.seconds}: not a number of seconds`)

let seed = chosenSeed()
console.log(`seed ${seed}, ${seconds} s`)
const ends = performance.now() + seconds * 1_000
const steps = Object.fromEntries(lanes.map(([what]) => [what, 0]))
let wrong = 0
while (performance.now() < ends && wrong === 0) {
  // A row of short runs: each begins with a seed of its own, which is quick to replay.
  const milliseconds = Math.min(10_000, (ends - performance.now()) / lanes.length)
  for (const [what, lane] of lanes) {
    const report = await run(lane, seed, milliseconds)
    steps[what]! += report.steps
    wrong += report.wrong.length
    for (const one of report.wrong) console.log(`${what}, SEED=${seed}: ${one.what}\n  ${one.text}`)
  }
  seed = (seed + 0x3c6ef372) >>> 0
}
const done = lanes.map(([what]) => `${steps[what]} ${what}`).join(', ')
console.log(`${done}: ${wrong === 0 ? 'nothing wrong' : `${wrong} wrong`}`)
process.exitCode = wrong === 0 ? 0 : 1
