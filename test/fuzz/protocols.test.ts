/**
 * Random bytes at both sides, in every protocol but the text of HTTP/1.1 (`requests`, `answers`) and HTTP/2 frames
 * (`test/integration/h2/random-frames`): nothing throws, the board goes back to zero, and the next one is served. `SEED=n` replays a run.
 */
import t from 'tap'
import { answersToControlLane } from './answers-to-control-lane.ts'
import { entranceLane } from './entrance-lane.ts'
import { guestLane } from './guest-lane.ts'
import { chosenSeed } from './random.ts'
import { run } from './run.ts'
import { tlsLane } from './tls-lane.ts'
import { tunnelLane } from './tunnel-lane.ts'

const seed = chosenSeed()
const lanes = { entranceLane, tunnelLane, tlsLane, answersToControlLane, guestLane }

for (const [name, lane] of Object.entries(lanes))
  t.test(`${name}, seed ${seed}`, async t => {
    const { steps, wrong } = await run(lane, seed, 800, 8)
    t.same(wrong, [], `${steps} steps, seed ${seed}`)
    t.ok(steps >= 8, `${steps} steps`)
  })
