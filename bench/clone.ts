/**
 * `npm run bench:clone`: what a clone costs beside a cold boot, on real VMs of the demo application, for one clone and for
 * eight at once. Prints a table and whether each target is met; writes bench/results/clone.json. Takes about a minute.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { cpus, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { buildImage } from '../examples/vm/build-image.ts'
import { Missing } from '../examples/vm/missing.ts'
import { systemClock } from '../lib/clock.ts'
import type { CloneSpec, Driver, HeldInstance, Identity } from '../lib/hypervisor/driver.ts'
import { residentBytes } from '../lib/hypervisor/process/proc.ts'
import { chooseAccelerator } from '../lib/hypervisor/qemu/accelerator.ts'
import { createQemuDriver } from '../lib/hypervisor/qemu/driver.ts'
import { silentLog } from '../lib/log.ts'

interface Started {
  readonly instance: HeldInstance
  /** Until the driver said that it runs. */
  readonly runningMs: number
  readonly firstAnswerMs: number
  readonly residentBytes: number
}

interface Pause {
  readonly pausedMs: number
  readonly snapshotMs: number
  /** Requests to the source while the snapshot was taken. */
  readonly requests: number
  readonly failed: number
  readonly slowestRequestMs: number
}

const clonesAtOnce = 8
const sessions = 500
const answerTimeoutMs = 120_000
const attemptTimeoutMs = 5_000
const MiB = 2 ** 20
const resources = { cpus: 1, memoryBytes: 384 * MiB, diskBytes: 0 }
const owner = { installation: 'bench', cluster: 'bench', operation: 'clone' }
const signal = AbortSignal.timeout(600_000)

try {
  process.exitCode = await main()
} catch (error) {
  if (!(error instanceof Missing)) throw error
  console.error(`${error.message}\nfix: ${error.fix}`)
  process.exitCode = 1
}

async function main(): Promise<number> {
  const { kernel, initrd } = buildImage({ say: line => console.log(line) })
  const verdict = await chooseAccelerator('auto', { binary: 'qemu-system-x86_64', kernel })
  console.log(`accelerator ${verdict.accelerator}: ${verdict.reason}`)
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-bench-'))
  const node = {
    id: 'bench',
    driver: 'qemu',
    zone: 'a',
    capacity: resources,
    directory,
    options: {},
  } as const
  const driver = createQemuDriver(node, { clock: systemClock, log: silentLog })
  try {
    const results = await measure(driver, { kernel, initrd })
    return report({ accelerator: verdict.accelerator, ...results })
  } finally {
    const { instances, snapshots } = await driver.inspect()
    for (const { name } of [...instances, ...snapshots]) await driver.destroy(name)
    rmSync(directory, { recursive: true, force: true })
  }
}

async function measure(driver: Driver, template: Record<string, string>) {
  const spec = { owner, port: 8080, resources, template }
  const source = await timed(() => driver.create({ ...spec, name: 'source' }, signal))
  const port = source.instance.address!.port
  await driver.identify('source', identity('source', 'created'), signal)
  for (let i = 0; i < sessions; i++) await ask(port, `/sessions/s${i}`, `value ${i}`)

  const pause = await snapshotUnderRequests(driver, port)
  const cloned = async (name: string) => {
    const clone: CloneSpec = { ...spec, name, snapshot: 'saved' }
    const started = await timed(() => driver.clone(clone, signal))
    const begun = performance.now()
    await driver.identify(name, identity(name, 'cloned'), signal)
    const identifiedMs = performance.now() - begun
    const { count } = JSON.parse(await ask(started.instance.address!.port, '/count'))
    if (count !== sessions) throw new Error(`${name} has ${count} of ${sessions} sessions`)
    return { ...started, identifiedMs }
  }
  const one = await cloned('one')
  await driver.destroy('one')
  const names = Array.from({ length: clonesAtOnce }, (_, i) => `of-eight-${i + 1}`)
  const eight = await Promise.all(names.map(cloned))
  return { source, pause, one, eight }
}

/** Takes the snapshot while requests are sent to the source one after another, one of them in flight when it stops. */
async function snapshotUnderRequests(driver: Driver, port: number): Promise<Pause> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const times: number[] = []
  let failed = 0
  let over = false
  const client = async () => {
    while (!over) {
      const begun = performance.now()
      await ask(port, '/count', undefined, agent).catch(() => failed++)
      times.push(performance.now() - begun)
    }
  }
  const clients = [client(), client(), client(), client()]
  const inFlight = ask(port, '/slow?ms=100').catch(() => failed++)
  const begun = performance.now()
  const { pausedMs } = await driver.snapshot({ name: 'saved', owner, source: 'source' }, signal)
  const snapshotMs = performance.now() - begun
  over = true
  await Promise.all([...clients, inFlight])
  agent.destroy()
  return { pausedMs, snapshotMs, requests: times.length + 1, failed, slowestRequestMs: Math.max(...times) }
}

async function timed(start: () => Promise<HeldInstance>): Promise<Started> {
  const begun = performance.now()
  const instance = await start()
  const runningMs = performance.now() - begun
  const deadline = begun + answerTimeoutMs
  while (true) {
    try {
      await ask(instance.address!.port, '/healthz')
      break
    } catch (error) {
      if (performance.now() > deadline) throw error
    }
  }
  const firstAnswerMs = performance.now() - begun
  const resident = await residentBytes(instance.pid!)
  return { instance, runningMs, firstAnswerMs, residentBytes: resident ?? Number.NaN }
}

function ask(port: number, path: string, body?: string, agent?: Agent): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, path, method: body === undefined ? 'GET' : 'POST' }
    const outgoing = request(
      { ...options, ...(agent ? { agent } : {}), timeout: attemptTimeoutMs },
      response => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', chunk => {
          text += chunk
        })
        response.on('end', () =>
          response.statusCode === 200
            ? resolve(text)
            : reject(new Error(`${path}: status ${response.statusCode}`)),
        )
      },
    )
    outgoing.on('timeout', () => outgoing.destroy(new Error(`${path}: no answer in ${attemptTimeoutMs} ms`)))
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

function identity(name: string, reason: Identity['reason']): Identity {
  const entropy = Buffer.from(crypto.getRandomValues(new Uint8Array(64))).toString('base64')
  const incarnation = crypto.randomUUID()
  return { instanceId: name, incarnation, cluster: 'bench', reason, entropy, wallClockMs: Date.now() }
}

type Results = Awaited<ReturnType<typeof measure>> & { readonly accelerator: string }

/** Prints the table and the verdicts, writes the JSON; 1 when a target is missed. */
function report({ accelerator, source, pause, one, eight }: Results): number {
  const worst = (pick: (clone: Started) => number) => Math.max(...eight.map(pick))
  const middle = (pick: (clone: Started) => number) =>
    eight.map(pick).sort((a, b) => a - b)[eight.length / 2]!
  const row = (what: string, ...cells: string[]) =>
    console.log(what.padEnd(28) + cells.map(cell => cell.padStart(18)).join(''))
  row('', 'cold boot', 'one clone', `${clonesAtOnce} at once`, '(slowest)')
  for (const [what, pick] of [
    ['runs after', (s: Started) => s.runningMs],
    ['first answer after', (s: Started) => s.firstAnswerMs],
  ] as const) {
    row(what, ms(pick(source)), ms(pick(one)), ms(middle(pick)), ms(worst(pick)))
  }
  const memory = (s: Started) => s.residentBytes
  row(
    'resident at first answer',
    mib(memory(source)),
    mib(memory(one)),
    mib(middle(memory)),
    mib(worst(memory)),
  )
  row('identified after', '', ms(one.identifiedMs), '', ms(Math.max(...eight.map(c => c.identifiedMs))))
  console.log(
    `source paused ${ms(pause.pausedMs)} of a snapshot of ${ms(pause.snapshotMs)}; meanwhile ${pause.requests} requests, ` +
      `${pause.failed} failed, slowest ${ms(pause.slowestRequestMs)}`,
  )
  const targets = [
    ['first answer of a clone <= 1/10 of the cold boot', one.firstAnswerMs / source.firstAnswerMs, 0.1],
    ['source paused <= 300 ms', pause.pausedMs, 300],
    ['requests that failed during the pause = 0', pause.failed, 0],
    ['clone resident <= 1/3 of its source', one.residentBytes / source.residentBytes, 1 / 3],
  ] as const
  const verdicts = targets.map(([target, value, limit]) => ({ target, value, limit, met: value <= limit }))
  for (const { target, value, met } of verdicts) {
    console.log(`${met ? 'PASS' : 'MISS'}  ${target} (${Number(value.toFixed(3))})`)
  }
  const numbers = ({ runningMs, firstAnswerMs, residentBytes }: Started) => ({
    running_ms: runningMs,
    first_answer_ms: firstAnswerMs,
    resident_bytes: residentBytes,
  })
  const machine = { cpu: cpus()[0]?.model, cpus: cpus().length, memory_bytes: totalmem(), accelerator }
  const result = {
    at: new Date().toISOString(),
    machine,
    cold_boot: numbers(source),
    pause,
    one_clone: numbers(one),
    eight_clones: eight.map(numbers),
    targets: verdicts,
  }
  const out = join(import.meta.dirname, 'results')
  mkdirSync(out, { recursive: true })
  writeFileSync(join(out, 'clone.json'), `${JSON.stringify(result, null, 2)}\n`)
  return verdicts.every(({ met }) => met) ? 0 : 1
}

function ms(value: number): string {
  return value >= 10_000 ? `${(value / 1000).toFixed(1)} s` : `${Math.round(value)} ms`
}

function mib(bytes: number): string {
  return `${Math.round(bytes / MiB)} MiB`
}
