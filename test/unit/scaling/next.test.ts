/** What comes next, for each shape of journal. */
import t from 'tap'
import { limits } from '../../../lib/scaling/limits.ts'
import { type Decision, leftBehind, next, type RecipeShape, standing } from '../../../lib/scaling/next.ts'
import type { JournalEntry } from '../../../lib/store/store.ts'

/** a and c can be undone, b leaves nothing behind, c is the pivot, d comes after it. */
const recipe: RecipeShape = {
  steps: [
    { name: 'a', undoable: true },
    { name: 'b', undoable: false },
    { name: 'c', undoable: true },
    { name: 'd', undoable: true },
  ],
  pivot: 'c',
}

const kinds: Record<string, JournalEntry['kind']> = {
  s: 'started',
  d: 'done',
  f: 'failed',
  R: 'reverting',
  r: 'reverted',
  x: 'revert_failed',
  c: 'cancel_requested',
  F: 'failed',
  S: 'stuck',
  G: 'resumed',
  A: 'acknowledged',
}

/** `a:s a:d` is a journal of two entries. */
const journal = (text: string): readonly JournalEntry[] =>
  text
    .split(' ')
    .filter(Boolean)
    .map((pair, index) => {
      const [step, kind] = pair.split(':') as [string, string]
      return {
        operation: 'o',
        seq: index + 1,
        step,
        kind: kinds[kind]!,
        data: kind === 'F' ? { again: true } : null,
        atMs: 0,
      }
    })

const run = (step: string, attempt = 1): Decision => ({ act: 'run', step, attempt })
const revert = (step: string, attempt = 1): Decision => ({ act: 'revert', step, attempt })
const restore = (attempt = 1): Decision => ({ act: 'restore', step: 'restore', attempt })
const stand = (...steps: string[]): Decision => ({ act: 'stand', steps })
const end = (outcome: 'completed' | 'failed' | 'cancelled'): Decision => ({ act: 'end', outcome })

const spent = limits.attemptsMax
const many = (pair: string) => Array.from({ length: spent }, () => pair).join(' ')
const abc = 'a:s a:d b:s b:d c:s c:d'

const table: readonly (readonly [string, Decision, string])[] = [
  ['', run('a'), 'begins with the first'],
  ['a:s', run('a'), 'a step without an outcome is run again: only a restart sees that'],
  ['a:s a:d', run('b'), 'one after another'],
  [abc, run('d'), 'on after the pivot'],
  [`${abc} d:s d:d`, end('completed'), 'all done'],
  ['a:f', restore(), 'failed before it started: nothing to undo, and that is looked at'],
  ['a:f restore:R restore:r', end('failed'), 'looked at'],
  ['a:s a:f', revert('a'), 'a step that failed may have left something'],
  ['a:s a:d b:s b:f', revert('a'), 'what leaves nothing is not undone'],
  ['a:s a:d b:s b:d c:s c:f', revert('c'), 'the pivot that failed is not passed; latest first'],
  ['a:s a:d b:s b:d c:s c:f c:R c:r', revert('a'), 'then the one before'],
  ['a:s a:d b:s b:d c:s c:f c:R', revert('c'), 'an undo without an outcome is repeated'],
  ['a:s a:d b:s b:d c:s c:f c:R c:x', revert('c', 2), 'an undo that failed is repeated'],
  [`a:s a:d b:s b:d c:s c:f ${many('c:x')}`, revert('a'), 'given up on one, the others are undone'],
  [`a:s a:d b:s b:d c:s c:f ${many('c:x')} a:R a:r`, stand('c'), 'and then it stands'],
  ['a:s a:f a:R a:r', restore(), 'undone: is it as it was?'],
  ['a:s a:f a:R a:r restore:R', restore(), 'a comparison without an outcome is repeated'],
  ['a:s a:f a:R a:r restore:R restore:x', restore(2), 'not yet'],
  [`a:s a:f a:R a:r ${many('restore:x')}`, stand('restore'), 'it stays different'],
  ['a:s a:f a:R a:r restore:R restore:r', end('failed'), 'undone, and as it was'],
  [`a:s a:f ${many('a:x')}`, stand('a'), 'not undone'],
  [`a:s a:f ${many('a:x')} stuck:S stuck:G`, revert('a'), 'resumed: as many attempts again'],
  [`a:s a:f ${many('a:x')} stuck:S stuck:G a:R a:r`, restore(), 'and this time it goes'],
  [`a:s a:f ${many('a:x')} stuck:S stuck:A`, end('failed'), 'somebody said that it is well so'],
  ['a:s a:d b:s b:F', run('b', 2), 'a failure that may pass: again'],
  ['a:s a:F', revert('a'), 'but what it left behind goes first'],
  ['a:s a:F a:R a:r', run('a', 2), 'then again'],
  ['a:s a:F a:R a:x', revert('a', 2), 'an undo between two attempts that failed turns back'],
  ['a:s a:F a:R a:r a:s a:f', revert('a'), 'the last failure turns back'],
  ['cancel:c', restore(), 'cancelled before anything'],
  ['cancel:c restore:R restore:r', end('cancelled'), 'and nothing is different'],
  ['a:s a:d cancel:c', revert('a'), 'cancelled between steps'],
  [
    'a:s cancel:c a:f a:R a:r restore:R restore:r',
    end('cancelled'),
    'the failure of a step that was cancelled is not the cause',
  ],
  ['a:s a:f cancel:c a:R a:r restore:R restore:r', end('failed'), 'it had failed before somebody cancelled'],
  [`a:s cancel:c ${many('a:x')}`, stand('a'), 'cancelled, but not all could be undone'],
  ['a:s a:d recover:f', revert('a'), 'interrupted before the pivot'],
  [`${abc} d:s d:f`, run('d', 2), 'after the pivot: again'],
  [`${abc} ${many('d:f')}`, stand('d'), 'after the pivot: patience ends'],
  [`${abc} ${many('d:f')} stuck:S stuck:G`, run('d'), 'and comes back'],
  [`${abc} cancel:c`, run('d'), 'after the pivot nobody cancels'],
  [`${abc} d:s d:f d:s d:d`, end('completed'), 'done at the second attempt'],
]

for (const [text, expected, why] of table)
  t.strictSame(next(recipe, journal(text)), expected, `${why}: ${text}`)

t.strictSame(leftBehind(journal('a:s a:f a:R a:x a:R a:r')), [])
t.strictSame(leftBehind(journal('a:s a:f a:R a:x')), ['a'])

t.strictSame(standing(journal('a:s stuck:S')), true)
t.strictSame(standing(journal('a:s stuck:S stuck:G')), false)

const finalD = { ...recipe, steps: [...recipe.steps.slice(0, 3), { name: 'd', undoable: true, final: true }] }
t.strictSame(next(finalD, journal(`${abc} ${many('d:f')}`)), end('failed'), 'nothing would mend it')
