/** What comes next, for each shape of journal. */
import t from 'tap'
import { limits } from '../../../lib/scaling/limits.ts'
import { type Decision, leftBehind, next, type RecipeShape } from '../../../lib/scaling/next.ts'
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
}

/** `a:s a:d` is a journal of two entries. */
const journal = (text: string): readonly JournalEntry[] =>
  text
    .split(' ')
    .filter(Boolean)
    .map((pair, index) => {
      const [step, kind] = pair.split(':') as [string, string]
      return { operation: 'o', seq: index + 1, step, kind: kinds[kind]!, data: null, atMs: 0 }
    })

const run = (step: string, attempt = 1): Decision => ({ act: 'run', step, attempt })
const revert = (step: string, attempt = 1): Decision => ({ act: 'revert', step, attempt })
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
  ['a:f', end('failed'), 'failed before it started: nothing to undo'],
  ['a:s a:f', revert('a'), 'a step that failed may have left something'],
  ['a:s a:d b:s b:f', revert('a'), 'what leaves nothing is not undone'],
  ['a:s a:d b:s b:d c:s c:f', revert('c'), 'the pivot that failed is not passed; latest first'],
  ['a:s a:d b:s b:d c:s c:f c:R c:r', revert('a'), 'then the one before'],
  ['a:s a:d b:s b:d c:s c:f c:R', revert('c'), 'an undo without an outcome is repeated'],
  ['a:s a:d b:s b:d c:s c:f c:R c:x', revert('c', 2), 'an undo that failed is repeated'],
  [`a:s a:d b:s b:d c:s c:f ${many('c:x')}`, revert('a'), 'given up on one, the others are undone'],
  ['a:s a:f a:R a:r', end('failed'), 'undone'],
  [`a:s a:f ${many('a:x')}`, end('failed'), 'not undone'],
  ['cancel:c', end('cancelled'), 'cancelled before anything'],
  ['a:s a:d cancel:c', revert('a'), 'cancelled between steps'],
  ['a:s cancel:c a:f a:R a:r', end('cancelled'), 'the failure of a step that was cancelled is not the cause'],
  ['a:s a:f cancel:c a:R a:r', end('failed'), 'it had failed before somebody cancelled'],
  [`a:s cancel:c ${many('a:x')}`, end('failed'), 'cancelled, but not all could be undone'],
  ['a:s a:d recover:f', revert('a'), 'interrupted before the pivot'],
  [`${abc} d:s d:f`, run('d', 2), 'after the pivot: again'],
  [`${abc} ${many('d:f')}`, end('failed'), 'after the pivot: patience ends'],
  [`${abc} cancel:c`, run('d'), 'after the pivot nobody cancels'],
  [`${abc} d:s d:f d:s d:d`, end('completed'), 'done at the second attempt'],
]

for (const [text, expected, why] of table)
  t.strictSame(next(recipe, journal(text)), expected, `${why}: ${text}`)

t.strictSame(leftBehind(recipe, journal('a:s a:f a:R a:x a:R a:r')), [])
t.strictSame(leftBehind(recipe, journal('a:s a:f a:R a:x')), ['a'])
