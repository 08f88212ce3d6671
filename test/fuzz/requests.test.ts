/**
 * Whatever a client sends: the backend gets exactly the requests that were routed, as three readers see them, the client gets one answer
 * for each or a documented refusal, and Node's parser agrees but for the listed differences. `SEED=n` replays a run.
 */
import t from 'tap'
import { attacks } from './corpus.ts'
import { fill } from './grammar.ts'
import { chosenSeed, Random } from './random.ts'
import { RequestLab } from './request-lab.ts'
import { requestLane } from './request-lane.ts'
import { run } from './run.ts'

const seed = chosenSeed()

t.test('every known attack, whole and in pieces', async t => {
  const lab = new RequestLab(new Random(1))
  await lab.open()
  for (const { name, bytes } of attacks) {
    const text = fill(bytes)
    t.same(await lab.try(text, [], false), [], name)
    const middle = text.length >> 1
    const cuts = [text.indexOf('\n') + 1, middle, middle + 1].sort((a, b) => a - b)
    t.same(await lab.try(text, cuts, true), [], `${name}, in pieces`)
  }
  const { requests, refused, texts } = lab.tally
  t.ok(requests > 100 && refused > 100, `${requests} requests, ${refused} refusals of ${texts} texts`)
  await lab.close()
})

t.test(`requests by chance, seed ${seed}`, async t => {
  const { steps, wrong } = await run(requestLane, seed, 1_500, 51)
  t.same(wrong, [], `${steps} texts, seed ${seed}`)
  t.ok(steps > 50)
})
