/** The document names the differences to Node that the fuzz allows, and no others. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { laxerOfAnswers, stricterOfAnswers } from './answer-differences.ts'
import { laxer, stricter } from './differences.ts'

const document = readFileSync(new URL('../../docs/held-against.md', import.meta.url), 'utf8')

/** The rows of the table below a heading: what, why. */
function rowsBelow(heading: string): Record<string, string> {
  const [, section = ''] = document.split(`### ${heading}\n`)
  const rows = section.split('\n#', 1)[0]!.matchAll(/^\| (?!what |---)([^|]+) \| ([^|]+) \|$/gm)
  return Object.fromEntries([...rows].map(([, what, why]) => [what!, why!]))
}

const reasons = (listed: Readonly<Record<string, { readonly why: string }>>) =>
  Object.fromEntries(Object.entries(listed).map(([what, { why }]) => [what, why]))

t.test('differences to Node', async t => {
  t.same(rowsBelow('Requests that we refuse and Node takes'), stricter)
  t.same(rowsBelow('Requests that we take and Node refuses'), reasons(laxer))
  t.same(rowsBelow('Answers that we refuse and Node takes'), stricterOfAnswers)
  t.same(rowsBelow('Answers that we take and Node refuses'), reasons(laxerOfAnswers))
})
