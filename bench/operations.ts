/**
 * `npm run bench:operations`: how fast a Tidegate with a thousand instances starts again after it died, and how fast it begins what was
 * decided. The nodes are the simulator's; store, sockets, threads and processes are real. Prints a table and whether each target is
 * met; writes bench/results/operations.json and docs/operations-numbers.md. Takes about two minutes.
 *
 *   npm run bench:operations -- [--rounds 7] [--decisions 200] [--no-docs]
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Decision } from './operations/decisions.ts'
import { syncs } from './operations/disk.ts'
import { type Doors, openDoors } from './operations/doors.ts'
import { pageOf, type Results, rowsOf, type Start } from './operations/page.ts'
import { thousand } from './operations/world.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    decisions: { type: 'string', default: '200' },
    'no-docs': { type: 'boolean', default: false },
  },
})

const compiled = mkdtempSync(join(tmpdir(), 'tidegate-compiled-'))

process.exitCode = await main()

async function main(): Promise<number> {
  // Twenty operations hold some more than there are members.
  const doors = await openDoors(thousand.clusters * (thousand.instances + 14))
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-bench-'))
  try {
    return report(await measure(directory, doors))
  } finally {
    doors.close()
    for (const made of [directory, compiled]) rmSync(made, { recursive: true, force: true })
  }
}

async function measure(directory: string, doors: Doors): Promise<Results> {
  const broken = join(directory, 'broken')
  mkdirSync(broken)
  await life(doors, 'break', broken)
  console.log('a thousand instances are made, and their controller has died')
  const starts: Start[] = []
  for (let round = 0; round < Number(values.rounds); round++) {
    const place = join(directory, `start-${round}`)
    cpSync(broken, place, { recursive: true })
    starts.push(await life<Start>(doors, 'start', place))
  }
  const disk = await syncs(directory, Number(values.decisions))
  const decisions = { sqlite: [] as readonly Decision[], memory: [] as readonly Decision[] }
  for (const store of ['sqlite', 'memory'] as const) {
    const place = join(directory, store)
    mkdirSync(place)
    const answer = await life<{ decisions: readonly Decision[] }>(
      doors,
      'decide',
      place,
      store,
      values.decisions,
    )
    decisions[store] = answer.decisions
  }
  return {
    size: thousand,
    starts,
    decisions,
    disk,
    command: `npm run bench:operations -- --rounds ${values.rounds} --decisions ${values.decisions}`,
  }
}

/** Runs one process to its end; its line of JSON. */
async function life<T>({ ports }: Doors, ...args: readonly string[]): Promise<T> {
  const script = join(import.meta.dirname, 'operations/life.ts')
  // As `tidegate serve` keeps what it compiled in the user's cache directory; the first life fills it.
  const env = { ...process.env, NODE_COMPILE_CACHE: compiled }
  const child = spawn(process.execPath, [script, ...args], {
    env,
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  })
  child.send(ports)
  return JSON.parse(await told(child)) as T
}

async function told(child: ChildProcess): Promise<string> {
  let text = ''
  child.stdout!.setEncoding('utf8')
  for await (const part of child.stdout!) text += part
  return text
}

/** Prints the verdicts, writes the JSON and the page; 1 when a target is missed. */
function report(results: Results): number {
  const rows = rowsOf(results)
  for (const { what, text, target, met } of rows)
    console.log(
      `${met === null ? '    ' : met ? 'PASS' : 'MISS'}  ${what}: ${text}${target ? ` (${target})` : ''}`,
    )
  const out = join(import.meta.dirname, 'results')
  mkdirSync(out, { recursive: true })
  writeFileSync(join(out, 'operations.json'), `${JSON.stringify({ at: new Date(), ...results }, null, 2)}\n`)
  const page = pageOf(results, rows)
  writeFileSync(join(out, 'operations.md'), page)
  if (!values['no-docs']) writeFileSync(join(import.meta.dirname, '../docs/operations-numbers.md'), page)
  return rows.some(({ met }) => met === false) ? 1 : 0
}
