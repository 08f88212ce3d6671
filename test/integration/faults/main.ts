/**
 * `npm run test:faults-vm [-- --driver qemu|process] [--recipe replace] [--fault killed|'application killed'|stopped|'disk full'] [--least N]`:
 * every fault at every step of every recipe that it has, a line for each, and at the end what was wrong. On VMs it takes hours; several may run beside each
 * other, as each waits most of the time.
 */
import { parseArgs } from 'node:util'
import { matrix } from './matrix.ts'

const { values } = parseArgs({
  options: {
    driver: { type: 'string', default: 'qemu' },
    recipe: { type: 'string' },
    fault: { type: 'string' },
    least: { type: 'string' },
  },
})
const { driver, recipe, fault } = values
if (driver !== 'process' && driver !== 'qemu') throw new Error(`--driver ${driver}: process or qemu`)
const ending = new AbortController()
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => ending.abort())
let tried = 0
const wrong = await matrix({
  driver,
  // An emulated machine boots for half a minute, and is cloned in one second.
  least: Number(values.least ?? (driver === 'qemu' ? 2 : 1)),
  ...(recipe === undefined ? {} : { recipe }),
  ...(fault === undefined ? {} : { fault }),
  signal: ending.signal,
  say: line => {
    if (!line.startsWith(' ')) tried++
    console.log(`${new Date().toISOString().slice(11, 19)} ${line}`)
  },
})
for (const what of wrong) console.log(`FAULT ${what}`)
console.log(`${tried} tried, ${wrong.length} wrong`)
process.exitCode = wrong.length === 0 && tried > 0 ? 0 : 1
