/** What excuses a request that failed, and what does not. */
import t from 'tap'
import { recipes } from '../../../lib/scaling/recipes.ts'
import { byBreadth, casesOf, faults, keyOf, recipeCases, recipeNames, stepsOf } from './cases.ts'
import { judge } from './judge.ts'

const failed = (instance: string, fromMs: number, toMs = fromMs) => ({ instance, fromMs, toMs, what: '502' })

t.test('with who was struck, or with nobody that can be told, and only for a while', t => {
  const struck = [{ instance: 'a', fromMs: 1_000, toMs: 2_000 }]
  const verdict = (instance: string, fromMs: number, toMs?: number) =>
    judge([failed(instance, fromMs, toMs)], { struck, away: [] })
  t.match(verdict('a', 1_500), { faults: [], excused: 1 })
  t.match(verdict('', 1_500), { faults: [], excused: 1 })
  t.match(verdict('a', 900, 1_100), { faults: [], excused: 1 }, 'it was under way')
  t.match(verdict('b', 1_500), { faults: [/failed on b: 502/], excused: 0 }, 'another one')
  t.match(verdict('a', 900, 950), { faults: [/failed on a/], excused: 0 }, 'before')
  t.match(verdict('', 2_001), { faults: [/failed on nobody/], excused: 0 }, 'too long after')
  t.end()
})

t.test('while there was no controller, on anybody', t => {
  const away = [{ fromMs: 1_000, toMs: 2_000 }]
  t.match(judge([failed('b', 1_500), failed('b', 2_500)], { struck: [], away }), {
    faults: { length: 1 },
    excused: 1,
  })
  t.end()
})

t.test('no case is lost by their order, and each round has something of each recipe and fault', t => {
  const all = recipeNames.flatMap(name => casesOf(name, 2))
  const rounds = byBreadth(all, 2, new Set())
  t.same(new Set(rounds.flat()), new Set(all))
  t.equal(rounds.flat().length, all.length)
  for (const name of recipeNames) {
    t.equal(casesOf(name, 2).length, faults.length * stepsOf(recipeCases[name]!, 2).length)
    for (const fault of faults)
      t.equal(rounds[0]!.filter(one => one.name === name && one.fault === fault).length, 1)
  }
  t.end()
})

t.test('what has passed is not tried again, and gives way to what has not', t => {
  const all = casesOf('replace', 2).filter(({ fault }) => fault === 'killed' || fault === 'stopped')
  const [first] = byBreadth(all, 2, new Set())
  const passed = new Set([keyOf(first![0]!)])
  const rounds = byBreadth(all, 2, passed)
  t.equal(rounds.flat().length, all.length - 1)
  t.strictSame(
    rounds[0]!.map(({ fault }) => fault),
    ['stopped'],
  )
  t.equal(rounds[1]!.length, 2)
  t.end()
})

t.test('each recipe is among them', t => {
  const kinds = new Set(Object.values(recipeCases).map(({ kind }) => kind))
  t.strictSame([...kinds].sort(), [...Object.keys(recipes), 'rolling_replace'].sort())
  t.end()
})
