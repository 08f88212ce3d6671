/** The soak in short: some requests, on one thread. `npm run soak -- --requests 2000000` is the long one. */
import t from 'tap'
import { chosenSeed } from '../../../fuzz/random.ts'
import { soak } from './run.ts'

const seed = chosenSeed()

t.test(`clients and backends that end at random, seed ${seed}`, async t => {
  const report = await soak({ requests: 2_000, clients: 16, threads: 1, backends: 3, seed })
  const { wrong, answers, after, before, died, aborted, tunnels } = report
  t.same(wrong, [], `no wrong answer, seed ${seed}`)
  t.notOk(died)
  t.ok((answers['200'] ?? 0) > 700, JSON.stringify(answers))
  t.ok(aborted > 0 && tunnels > 0, `${aborted} given up, ${tunnels} tunnels`)
  t.same([after.inFlight, after.tunnels], [0, 0], 'the board is back to zero')
  t.ok(after.sockets <= before.sockets, `${after.sockets} sockets, ${before.sockets} before`)
})
