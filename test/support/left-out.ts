/**
 * Says what a test file cannot do on this machine, so that nothing is left out in silence: the runner repeats it at the end
 * (`test/run.ts` reads it by `test/support/tap-digest.ts`).
 */
interface Says {
  comment(text: string): void
}

/** What `npm run setup`, as root, gives a machine: with `CI=true` it is a failure. */
export const leftOut = (t: Says, what: string): void => t.comment(`LEFT OUT: ${what}`)

/** What no setup gives: hardware, a program that is in no distribution, another user. It fails nothing. */
export const notHere = (t: Says, what: string): void => t.comment(`NOT HERE: ${what}`)
