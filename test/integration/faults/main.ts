/**
 * `npm run test:faults-vm [-- --record FILE] [--recipe replace] [--fault stopped,killed] [--step clone] [--driver process] [--least N] [--beside] [--write-docs]`: every fault
 * at every step of every recipe, a line for each. With `--record` what passed is kept, and not tried when it is begun again: on VMs it takes hours, which
 * can be had in pieces (Ctrl-C ends it after the case). `--write-docs` writes docs/faults-on-vms.md from the record, with what was tried now.
 */
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { keyOf } from './cases.ts'
import { matrix } from './matrix.ts'
import { keep, readRecord, writePage } from './record.ts'

const { values } = parseArgs({
  options: {
    driver: { type: 'string', default: 'qemu' },
    recipe: { type: 'string' },
    fault: { type: 'string' },
    step: { type: 'string' },
    least: { type: 'string', default: '2' },
    record: { type: 'string' },
    beside: { type: 'boolean', default: false },
    'write-docs': { type: 'boolean', default: false },
    /** Nothing is tried: only the page is written. */
    'docs-only': { type: 'boolean', default: false },
  },
})
const { driver, recipe, fault, step, record } = values
if (driver !== 'process' && driver !== 'qemu') throw new Error(`--driver ${driver}: process or qemu`)
const least = Number(values.least)
const ending = new AbortController()
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => ending.abort())

const say = (line: string) => console.log(`${new Date().toISOString().slice(11, 19)} ${line}`)
const known = record === undefined ? [] : readRecord(record)
const passed = known.filter(one => one.driver === driver && one.wrong.length === 0).map(keyOf)
let tried = 0
let wrong = 0
if (!values['docs-only']) {
  await matrix({
    ...{ driver, least, passed: new Set(passed), say, signal: ending.signal },
    beside: values.beside,
    ...(recipe === undefined ? {} : { recipe }),
    ...(fault === undefined ? {} : { faults: fault.split(/, */) }),
    ...(step === undefined ? {} : { step }),
    tried: outcome => {
      tried++
      if (outcome.wrong.length > 0) wrong++
      if (record !== undefined) keep(record, outcome)
      const { name, step, fault, victim, status, code, seconds, answers, excused } = outcome
      const end = [status, code, victim && `of the ${victim}`].filter(Boolean).join(' ')
      say(`${name}, ${step}: ${fault}: ${end}, ${seconds} s, ${answers} answers, ${excused} excused`)
      for (const what of outcome.wrong) say(`  FAULT ${what}`)
    },
  })
  say(`${tried} tried, ${wrong} wrong`)
}
if (values['write-docs'] && record !== undefined)
  writePage(join(import.meta.dirname, '../../../docs/faults-on-vms.md'), readRecord(record), least)
process.exitCode = wrong === 0 ? 0 : 1
