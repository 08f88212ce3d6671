/**
 * `npm run bench:clone`: what a clone costs beside a cold boot, on real VMs of the demo application. Prints a table and
 * whether each target is met; writes bench/results/clone.json and docs/clone-numbers.md. Takes some minutes.
 *
 *   npm run bench:clone -- [--rounds 200] [--no-docs]
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, release, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { buildImage } from '../examples/vm/build-image.ts'
import { Missing } from '../examples/vm/missing.ts'
import { systemClock } from '../lib/clock.ts'
import type { Driver, InstanceSpec } from '../lib/hypervisor/driver.ts'
import { openNamespaces } from '../lib/hypervisor/network/namespace.ts'
import { parsePool, poolDefault } from '../lib/hypervisor/network/plan.ts'
import { askAbilities } from '../lib/hypervisor/qemu/abilities.ts'
import { createQemuDriver } from '../lib/hypervisor/qemu/driver.ts'
import { silentLog } from '../lib/log.ts'
import { limits } from '../lib/scaling/limits.ts'
import { parallel } from '../lib/scaling/parallel.ts'
import { fromZero } from './clones/from-zero.ts'
import {
  answering,
  bootSource,
  clone,
  cloned,
  monitorReadyMs,
  rounds,
  type Settled,
  settled,
  signal,
  snapshotUnderRequests,
  specOf,
  started,
} from './clones/measure.ts'

const clonesAtOnce = 8
/** Ones and eights take turns, so that a slow minute of the machine is in both: one is the middle of all, of the eights it is the p95 of all. */
const turns = 3
const onesPerTurn = 3
const zeroRounds = 5
const MiB = 2 ** 20
const resources = { cpus: 1, memoryBytes: 384 * MiB, diskBytes: 256 * MiB }
const binary = 'qemu-system-x86_64'

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '200' }, 'no-docs': { type: 'boolean', default: false } },
})

try {
  process.exitCode = await main()
} catch (error) {
  if (!(error instanceof Missing)) throw error
  console.error(`${error.message}\nfix: ${error.fix}`)
  process.exitCode = 1
}

async function main(): Promise<number> {
  const { kernel, initrd } = buildImage({ say: line => console.log(line) })
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-bench-'))
  const capacity = resources
  const node = {
    id: 'bench',
    driver: 'qemu',
    zone: 'a',
    capacity,
    directory,
    options: { boot_timeout_ms: 900_000 },
  } as const
  const driver = createQemuDriver(node, { clock: systemClock, log: silentLog })
  try {
    const template = { kernel, initrd, disk: true, accelerator: 'tcg' }
    return report(await measure(driver, directory, template))
  } finally {
    const { instances, snapshots } = await driver.inspect()
    for (const { name } of [...instances, ...snapshots]) await driver.destroy(name)
    rmSync(directory, { recursive: true, force: true })
  }
}

async function measure(driver: Driver, directory: string, template: Record<string, unknown>) {
  const spec = (name: string, more = {}) => specOf(name, resources, { ...template, ...more })
  const readyMs = await monitorReadyMs(directory, template)
  const source = await bootSource(driver, spec('source', { snapshot: 'copy' }))
  const pause = await snapshotUnderRequests(driver, source, 'saved')
  const ones: Settled[] = []
  const eights: Settled[] = []
  for (let n = 0; n < turns; n++) {
    for (let i = 0; i < onesPerTurn; i++) {
      ones.push(await settled(driver, spec('one'), await cloned(driver, spec('one'), 'saved')))
      await driver.destroy('one')
    }
    eights.push(...(await together(driver, n, spec)))
  }
  await driver.destroy('source')

  const [namespaces] = await openNamespaces(parsePool(poolDefault, 'pool')).check()
  const networks = namespaces?.ok ? ['user', 'namespace'] : ['user']
  const specs = networks.map(network => spec('round', { network }))
  const left = await rounds(driver, specs, 'saved', directory, Number(values.rounds))

  const { background: can, version } = await askAbilities(binary)
  let background = null
  if (can) {
    const other = await bootSource(driver, spec('other', { snapshot: 'background' }))
    background = await snapshotUnderRequests(driver, other, 'behind')
    const of = spec('from-behind')
    const clone = await settled(driver, of, await cloned(driver, of, 'behind'))
    background = { ...background, cloneFirstAnswerMs: clone.firstAnswerMs }
  }
  const zero = await fromZero(directory, { ...template, disk: false }, zeroRounds)
  const one = ascending(ones)[ones.length >> 1]!
  return { readyMs, source, pause, one, eights: ascending(eights), left, networks, background, zero, version }
}

/**
 * As an operation does it: so many are made at a time, and when all run so many are asked for the first time at a time, which is when a clone
 * has to work. The time runs for all from the beginning.
 */
async function together(
  driver: Driver,
  turn: number,
  spec: (name: string) => InstanceSpec,
): Promise<readonly Settled[]> {
  const specs = Array.from({ length: clonesAtOnce }, (_, i) => spec(`of-eight-${turn}-${i}`))
  const begunMs = performance.now()
  const several = <T, R>(items: readonly T[], work: (item: T) => Promise<R>) =>
    parallel(items, limits.parallelMax, signal, work)
  const running = await several(specs, each => started(() => clone(driver, each, 'saved'), begunMs))
  const answered = await several(running, one => answering(one, begunMs))
  const eight = await Promise.all(specs.map((each, i) => settled(driver, each, answered[i]!)))
  for (const { name } of specs) await driver.destroy(name)
  return eight
}

function ascending(started: readonly Settled[]): readonly Settled[] {
  return started.toSorted((a, b) => a.firstAnswerMs - b.firstAnswerMs)
}

type Results = Awaited<ReturnType<typeof measure>>

interface Row {
  readonly what: string
  readonly value: number
  readonly limit: number
  readonly unit: string
}

function targets(results: Results): readonly Row[] {
  const { source, one, eights, pause, background, readyMs, left, zero } = results
  const p95 = eights[Math.ceil(eights.length * 0.95) - 1]!
  const row = (what: string, value: number, limit: number, unit = ''): Row => ({ what, value, limit, unit })
  return [
    row('first answer of a clone, of a cold boot', one.firstAnswerMs / source.firstAnswerMs, 1 / 15),
    row(`${clonesAtOnce} clones at once, p95, of one clone`, p95.firstAnswerMs / one.firstAnswerMs, 5),
    row('source paused, copied', pause.pausedMs, 300, 'ms'),
    row('requests failed, copied', pause.failed, 0),
    ...(background === null
      ? []
      : [
          row('source paused, in the background', background.pausedMs, 20, 'ms'),
          row('slowest request, in the background', background.slowestRequestMs, 250, 'ms'),
          row('requests failed, in the background', background.failed, 0),
        ]),
    row('resident memory of an idle clone, of its source', one.idleBytes / source.residentBytes, 1 / 4),
    row('process start to monitor ready', readyMs, 80, 'ms'),
    row(`a request that waits, from zero: the middle of ${zeroRounds}`, middleOf(zero.cloneMs), 1000, 'ms'),
    row('the same with a warm pool', middleOf(zero.pooledMs), 1000, 'ms'),
    row(`left after ${left.rounds} rounds of clone and destroy`, left.left.length, 0),
  ]
}

function middleOf(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!
}

/** Prints the verdicts, writes the JSON and the page; 1 when a target is missed. */
function report(results: Results): number {
  const rows = targets(results)
  for (const { what, value, limit, unit } of rows) {
    console.log(
      `${value <= limit ? 'PASS' : 'MISS'}  ${what}: ${number(value)} ${unit} (at most ${number(limit)})`,
    )
  }
  for (const trace of results.left.left) console.log(`left: ${trace}`)
  const out = join(import.meta.dirname, 'results')
  mkdirSync(out, { recursive: true })
  writeFileSync(join(out, 'clone.json'), `${JSON.stringify({ at: new Date(), ...results }, null, 2)}\n`)
  const page = join(import.meta.dirname, '../docs/clone-numbers.md')
  if (!values['no-docs']) writeFileSync(page, pageOf(results, rows))
  return rows.every(({ value, limit }) => value <= limit) ? 0 : 1
}

function pageOf(results: Results, rows: readonly Row[]): string {
  const { source, one, eights, pause, background, left, networks, zero, version } = results
  const middle = middleOf(eights.map(clone => clone.firstAnswerMs))
  const verdict = ({ value, limit }: Row) => (value <= limit ? 'met' : '**missed**')
  const behind = background
    ? `In the background: ${number(background.pausedMs)} ms, all of it ${number(background.snapshotMs)} ms with ${background.requests} requests meanwhile, the slowest ${number(background.slowestRequestMs)} ms; first answer of a clone of it after ${number(background.cloneFirstAnswerMs)} ms.`
    : 'This kernel gives no snapshots in the background.'
  return `# What a clone costs

Written by \`npm run bench:clone -- --rounds ${left.rounds}\` on ${new Date().toISOString().slice(0, 10)}: ${cpus().length} × ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / MiB / 1024)} GiB, Linux ${release()},
QEMU ${version} without hardware virtualisation (TCG), Node ${process.version}; load of the machine at the end ${loadavg()[0]!.toFixed(1)}.
Guests of ${resources.memoryBytes / MiB} MiB with the demo application, 500 sessions and a disk.

| | measured | target | |
|---|---|---|---|
${rows.map(row => `| ${row.what} | ${number(row.value)} ${row.unit} | ≤ ${number(row.limit)} ${row.unit} | ${verdict(row)} |`).join('\n')}

Cold boot to first answer ${number(source.firstAnswerMs)} ms; one clone runs after ${number(one.runningMs)} ms and answers after ${number(one.firstAnswerMs)} ms; of eight at once, ${turns} times, the middle one
after ${number(middle)} ms, the last after ${number(eights.at(-1)!.firstAnswerMs)} ms. Snapshot by copy: paused ${number(pause.pausedMs)} ms of ${number(pause.snapshotMs)} ms, ${pause.requests} requests meanwhile, the slowest ${number(pause.slowestRequestMs)} ms.
${behind}
Resident: source ${number(source.residentBytes / MiB)} MiB, idle clone ${number(one.idleBytes / MiB)} MiB. A round of clone and destroy takes ${number(left.roundMs)} ms (networks: ${networks.join(', ')}).
From zero the ${zeroRounds} requests waited ${zero.cloneMs.map(number).join(', ')} ms; with one paused clone in a warm pool ${zero.pooledMs.map(number).join(', ')} ms.
`
}

function number(value: number): string {
  return value >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(3)))
}
