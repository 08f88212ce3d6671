/**
 * `npm run test:faults-vm [-- --driver qemu|process] [--recipe replace] [--fault killed|'application killed'|stopped|'disk full']`: every fault at every step of every recipe, a
 * line for each, and at the end what was wrong. On VMs it takes an hour or two.
 */
import { parseArgs } from 'node:util'
import { matrix } from './matrix.ts'

const { values } = parseArgs({
  options: {
    driver: { type: 'string', default: 'qemu' },
    recipe: { type: 'string' },
    fault: { type: 'string' },
  },
})
const { driver, recipe, fault } = values
if (driver !== 'process' && driver !== 'qemu') throw new Error(`--driver ${driver}: process or qemu`)
let tried = 0
const wrong = await matrix({
  driver,
  ...(recipe === undefined ? {} : { recipe }),
  ...(fault === undefined ? {} : { fault }),
  say: line => {
    if (!line.startsWith(' ')) tried++
    console.log(`${new Date().toISOString().slice(11, 19)} ${line}`)
  },
})
for (const what of wrong) console.log(`FAULT ${what}`)
console.log(`${tried} tried, ${wrong.length} wrong`)
process.exitCode = wrong.length === 0 && tried > 0 ? 0 : 1
