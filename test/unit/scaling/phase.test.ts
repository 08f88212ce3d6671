/** Every journal that can come about gives only phases that may follow each other. */
import t from 'tap'
import { legal, phases } from '../../../lib/phases.ts'
import { limits } from '../../../lib/scaling/limits.ts'
import { next, pivoted, type RecipeShape, standing, turnedBack } from '../../../lib/scaling/next.ts'
import { operationView } from '../../../lib/scaling/operation.ts'
import { phaseOf, phaseOfStep, trace, triedAgain } from '../../../lib/scaling/phase.ts'
import { recipes } from '../../../lib/scaling/recipes.ts'
import { outOfOrder } from '../../../lib/scaling/recovery/soundness.ts'
import { shapeOf } from '../../../lib/scaling/runner.ts'
import type { Recipe } from '../../../lib/scaling/step.ts'
import { rollingRecipe } from '../../../lib/scaling/steps/rolling.ts'
import type { JournalEntry, OperationRecord } from '../../../lib/store/store.ts'

const record: OperationRecord = {
  id: 'o',
  cluster: 'web',
  type: 'scale_out',
  request: {},
  actor: 'test',
  createdAtMs: 0,
  endedAtMs: null,
  outcome: null,
}

type Line = Pick<JournalEntry, 'step' | 'kind' | 'data'>
const entryOf = (line: Line, seq: number): JournalEntry => ({ operation: 'o', seq, atMs: seq, ...line })

/** The rows that a runner, a person or a restart may write next. */
function successors(shape: RecipeShape, journal: readonly JournalEntry[], goesOn: boolean): readonly Line[] {
  if (standing(journal))
    return [
      { step: 'stuck', kind: 'resumed', data: {} },
      { step: 'stuck', kind: 'acknowledged', data: {} },
    ]
  const decision = next(shape, journal)
  const lines: Line[] = []
  const add = (step: string, kind: JournalEntry['kind'], data: JournalEntry['data'] = {}) =>
    lines.push({ step, kind, data })
  const last = journal.at(-1)
  const onward = pivoted(shape, journal)
  const back = turnedBack(shape, journal)
  if (!onward) {
    if (!journal.some(entry => entry.kind === 'cancel_requested')) add('cancel', 'cancel_requested')
    if (!back && !goesOn) add('recover', 'failed')
  }
  if (decision.act === 'stand') add('stuck', 'stuck')
  if (decision.act === 'run') {
    const { step, attempt } = decision
    const cancelled = journal.some(entry => entry.kind === 'cancel_requested')
    if (last?.step === step && last.kind === 'started') {
      if (step !== shape.pivot || !cancelled) add(step, 'done', told)
      // A restart that goes on runs it again.
      if (goesOn && !cancelled) add(step, 'started')
      add(step, 'failed', onward && attempt < limits.attemptsMax ? { again: true } : {})
      if (!onward && attempt < 2) add(step, 'failed', { again: true })
    } else {
      add(step, 'started')
      // It cannot say what it is about to make.
      if (!onward) add(step, 'failed')
    }
  }
  // A step that was under way when somebody cancelled fails after that.
  if (back && last?.kind === 'cancel_requested' && journal.at(-2)?.kind === 'started')
    add(journal.at(-2)!.step, 'failed')
  if (decision.act === 'revert' || decision.act === 'restore') {
    const { step } = decision
    if (last?.step === step && last.kind === 'reverting') {
      add(step, 'reverted', step === 'restore' ? { differences: [] } : {})
      if (step === 'restore') add(step, 'reverted', { differences: [{ what: 'instance_gone' }] })
      add(step, 'revert_failed')
    } else add(step, 'reverting')
  }
  return lines
}

/** What of a journal decides its future and its phase: journals that agree in it are the same to everybody. */
function keyOf(shape: RecipeShape, journal: readonly JournalEntry[]): string {
  const went = trace(record, journal).map(({ phase }) => phase)
  const decision = next(shape, journal)
  const since = journal.slice(journal.findLastIndex(entry => entry.kind === 'resumed') + 1)
  const failures =
    'step' in decision ? since.filter(entry => entry.step === decision.step && isFailure(entry)) : []
  const spent = new Set(
    since
      .filter(isFailure)
      .map(({ step }) => step)
      .filter((step, _i, all) => all.filter(one => one === step).length >= limits.attemptsMax),
  )
  const first = journal.find(entry => entry.kind === 'cancel_requested' || isFatal(entry))?.kind
  const last = journal.slice(-2).map(({ step, kind, data }) => [step, kind, data])
  const flags = [pivoted(shape, journal), went.includes('rolling_back'), first]
  return JSON.stringify([decision, went.slice(-2), last, failures.length, [...spent], flags])
}

const isFailure = ({ kind }: JournalEntry) => kind === 'failed' || kind === 'revert_failed'
const isFatal = (entry: JournalEntry) => entry.kind === 'failed' && !triedAgain(entry)

/** What later steps read of an earlier one. */
const told = { instances: [], items: [], snapshots: [], by: [], replaced: [], grown: [] }

const rolling = { batches: [['a'], ['b']] } as unknown as Parameters<typeof rollingRecipe>[0]
const all: readonly (readonly [string, Recipe])[] = [
  ...Object.entries(recipes),
  ['rolling_replace', rollingRecipe(rolling)],
]

for (const [type, recipe] of all)
  t.test(`${type}: every journal there can be`, async t => {
    const shape = shapeOf(recipe)
    const goesOn = recipe.goesOn ?? false
    const known = new Set<string>()
    const open: (readonly JournalEntry[])[] = [[]]
    const went = new Set<string>()
    const illegal: string[] = []
    const ends = new Set<string>()
    for (let journal = open.pop(); journal; journal = open.pop()) {
      const decision = next(shape, journal)
      const ended = decision.act === 'end' ? { ...record, outcome: decision.outcome, endedAtMs: 9 } : record
      const spans = trace(ended, journal).map(({ phase }) => phase)
      for (const [index, phase] of spans.slice(1).entries()) {
        went.add(`${spans[index]} → ${phase}`)
        if (!legal[spans[index]!].includes(phase))
          illegal.push(`${spans[index]} → ${phase}: ${journal.map(e => `${e.step}:${e.kind}`).join(' ')}`)
      }
      if (decision.act === 'end') {
        ends.add(spans.at(-1)!)
        const view = operationView(ended, journal)
        if ((view.error === null) !== (view.status === 'completed')) illegal.push(`error of ${spans}`)
        continue
      }
      for (const line of successors(shape, journal, goesOn)) {
        const longer = [...journal, entryOf(line, journal.length + 1)]
        const why = outOfOrder(shape, journal, line)
        if (why !== null) illegal.push(`would not be believed: ${why}`)
        const key = keyOf(shape, longer)
        if (known.has(key)) continue
        known.add(key)
        open.push(longer)
      }
    }
    t.strictSame(illegal.slice(0, 5), [])
    t.ok(known.size > 100, `${known.size} different journals`)
    t.strictSame([...ends].sort(), ['cancelled', 'completed', 'failed', 'rolled_back'])
    t.comment(`${known.size} journals, ${went.size} transitions`)
  })

t.test('each step of each recipe has a phase, and the phases of a recipe go one way', async t => {
  for (const [, { steps }] of all) for (const { name } of steps) t.ok(phaseOfStep(name), name)
  t.equal(phaseOfStep('of a newer version'), null)
  t.strictSame(Object.keys(legal).sort(), [...phases].sort())
  const reachable = new Set(Object.values(legal).flat())
  for (const phase of phases) t.ok(phase === 'requested' || reachable.has(phase), `${phase} can be reached`)
})

t.test('said twice is said once', async t => {
  const lines: Line[] = [
    { step: 'validate', kind: 'started', data: {} },
    { step: 'validate', kind: 'done', data: {} },
    { step: 'validate', kind: 'failed', data: {} },
    { step: 'restore', kind: 'reverting', data: {} },
    { step: 'stuck', kind: 'stuck', data: {} },
    { step: 'stuck', kind: 'resumed', data: {} },
  ]
  const once = lines.map((line, i) => entryOf(line, i + 1))
  const twice = lines.flatMap(line => [line, line]).map((line, i) => entryOf(line, i + 1))
  t.strictSame(
    trace(record, twice).map(({ phase }) => phase),
    trace(record, once).map(({ phase }) => phase),
  )
})

t.test('journals of former versions still have a phase', async t => {
  const old = (text: string) =>
    text.split(' ').map((pair, i) => {
      const [step, kind] = pair.split(':') as [string, JournalEntry['kind']]
      return entryOf({ step, kind, data: null }, i + 1)
    })
  const failed = { ...record, outcome: 'failed', endedAtMs: 9 } as const
  const undone = 'validate:started validate:failed validate:reverting validate:reverted'
  t.equal(phaseOf(failed, old(undone)), 'rolled_back')
  t.equal(phaseOf(failed, old(`${undone} validate:revert_failed`)), 'failed')
})
