/**
 * Whatever a backend answers: the client sees one well-formed answer or a broken connection, never a second answer, and the next request
 * gets its own. Node's client agrees but for the listed differences. `SEED=n` replays a run.
 */
import t from 'tap'
import { knownAnswers } from './answer-grammar.ts'
import { AnswerLab } from './answer-lab.ts'
import { answerLane } from './answer-lane.ts'
import { chosenSeed } from './random.ts'
import { run } from './run.ts'

const seed = chosenSeed()

t.test('every known bad answer, with its connection open and ended', async t => {
  const lab = new AnswerLab()
  await lab.open()
  for (const text of knownAnswers) {
    for (const method of ['GET', 'HEAD'] as const) {
      const shown = JSON.stringify(text).slice(0, 80)
      t.same(await lab.try({ text, cuts: [], ending: 'stays', method, minor: 1 }), [], shown)
      t.same(
        await lab.try({ text, cuts: [text.length >> 1], ending: 'ends', method, minor: 1 }),
        [],
        'in pieces, ended',
      )
    }
    t.same(
      await lab.try({ text, cuts: [], ending: 'resets', method: 'GET', minor: 0 }),
      [],
      'to HTTP/1.0, reset',
    )
  }
  const { whole, refused, broken } = lab.tally
  t.ok(whole > 10 && refused > 10 && broken > 5, `${whole} passed on, ${refused} refused, ${broken} broken`)
  await lab.close()
})

t.test(`answers by chance, seed ${seed}`, async t => {
  const { steps, wrong } = await run(answerLane, seed, 1_000, 51)
  t.same(wrong, [], `${steps} answers, seed ${seed}`)
  t.ok(steps > 50)
})
