/** What was tried and what came of it: a file with a line of JSON for each case, so that hours can be had in pieces, and the page that is written from it. */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { type Fault, faults, recipeCases, recipeNames, stepsOf, type Victim } from './cases.ts'

export interface Outcome {
  /** ISO 8601. */
  readonly at: string
  readonly driver: 'process' | 'qemu'
  readonly name: string
  readonly step: string
  readonly fault: Fault
  /** Null: the fault is done to no machine. */
  readonly victim: Victim | null
  /** Of the operation; `refused`: none was begun. */
  readonly status: string
  readonly code: string | null
  /** It ended before the fault was done. Left out: it did not. */
  readonly early?: true
  readonly seconds: number
  readonly answers: number
  /** Requests that failed on who was struck, or while no controller ran. */
  readonly excused: number
  /** In words; empty: as it should be. */
  readonly wrong: readonly string[]
}

/** The last of each case: one that went wrong is tried again. */
export function readRecord(path: string): readonly Outcome[] {
  if (!existsSync(path)) return []
  const lines = readFileSync(path, 'utf8').split('\n')
  const outcomes = lines.filter(line => line !== '').map(line => JSON.parse(line) as Outcome)
  const known = new Map(outcomes.map(one => [`${one.driver} ${one.name} ${one.step} ${one.fault}`, one]))
  return [...known.values()]
}

export const keep = (path: string, outcome: Outcome): void =>
  appendFileSync(path, `${JSON.stringify(outcome)}\n`)

/** A table of recipes and faults: how many of their steps were tried, and went as they should. */
export function writePage(path: string, outcomes: readonly Outcome[], least: number): void {
  const vms = outcomes.filter(({ driver }) => driver === 'qemu')
  const seen = vms.filter(({ early }) => !early)
  const early = vms.length - seen.length
  const rows = recipeNames.map(name => {
    const cells = faults.map(fault => cell(name, fault, seen, least))
    return `| ${[name, ...cells].join(' | ')} |`
  })
  const wrong = seen.filter(one => one.wrong.length > 0)
  const times = seen.map(({ at }) => at).sort()
  const middle = seen.map(({ seconds }) => seconds).sort((a, b) => a - b)[seen.length >> 1] ?? 0
  const excused = seen.reduce((sum, one) => sum + one.excused, 0)
  const answers = seen.reduce((sum, one) => sum + one.answers, 0)
  const text = `# Faults on real VMs

Written by \`npm run test:faults-vm -- --record FILE --write-docs\`: each fault as each step of each recipe begins, on QEMU without hardware
virtualisation (TCG), a whole Tidegate in front and clients that ask it all the time. A cell says at how many of the recipe's steps it went as it should, of those
at which it was tried, and how many there are. Between ${day(times[0])} and ${day(times.at(-1))} (UTC).

| | ${faults.join(' | ')} |
|---|${faults.map(() => '---').join('|')}|
${rows.join('\n')}

**${seen.length} cases, ${seen.length - wrong.length} as they should be.** After each the operation has ended, what is served, stored and held is the same, nothing is left on a node, on
the disk or among the processes, everybody who was cloned of one that kept a session has it, and every request was answered but those that are excused.

A case took ${middle} s in the middle, beside whatever else the machine had to do.${early > 0 ? ` Of ${early} more the operation was over before the fault could be done, late by itself: they are not counted, and are tried again.` : ''}

The victim of the first three faults is who is being made; before there is one who leaves or is changed, and where nobody does another one. ${excused} requests
failed and are excused, of ${answers + excused}: on the machine that was struck, within ${excuse} after it was, or while the controller was dead. A client is bound to each
instance, so that of each request it is known whose it was.

- "Controller killed" is SIGKILL of Tidegate as soon as the journal says that the step has begun; "unsaid": when it is done, before that is in the journal;
  "said": right after. Another one is started and recovers. Clients cannot be served in between by the one that is dead.
- Disk full: the disk of all nodes takes nothing more, but the little that running VMs may need for their memory.
- Stopped: SIGSTOP of QEMU for 6 s.
- "replace on trial" is the first batch of a rolling replace, by clones of the golden snapshot of the same template.
${wrong.length === 0 ? '' : `\n## Not as it should be\n\n${wrong.map(({ name, step, fault, wrong: what }) => `- ${name}, ${step}, ${fault}: ${what.join('; ')}`).join('\n')}\n`}`
  writeFileSync(path, `${text.trimEnd()}\n`)
}

/** Said on the page; `scene.ts` keeps to it. */
export const excuseMs = 20_000
const excuse = `${excuseMs / 1000} s`

const day = (iso: string | undefined): string => (iso ?? 'never').slice(0, 16).replace('T', ' ')

function cell(name: string, fault: Fault, seen: readonly Outcome[], least: number): string {
  const all = stepsOf(recipeCases[name]!, least)
  const tried = seen.filter(one => one.name === name && one.fault === fault && all.includes(one.step))
  const passed = tried.filter(one => one.wrong.length === 0)
  if (tried.length === 0) return `0 of ${all.length}`
  return passed.length === tried.length
    ? `${tried.length} of ${all.length}`
    : `**${passed.length} of ${tried.length} tried, of ${all.length}**`
}
