/** What `npm run bench:clone` measures: each function one number or a few, on real VMs of the demo application. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { systemClock } from '../../lib/clock.ts'
import type { Driver, HeldInstance, Identity, InstanceSpec } from '../../lib/hypervisor/driver.ts'
import { residentBytes } from '../../lib/hypervisor/proc.ts'
import { commandLine } from '../../lib/hypervisor/qemu/command-line.ts'
import { machineFor } from '../../lib/hypervisor/qemu/machine.ts'
import { parseTemplate } from '../../lib/hypervisor/qemu/template.ts'
import { endVm, startVm } from '../../lib/hypervisor/qemu/vm.ts'

export interface Started {
  readonly instance: HeldInstance
  /** Until the driver said that it runs. */
  readonly runningMs: number
  readonly firstAnswerMs: number
  readonly residentBytes: number
}

export interface Pause {
  readonly pausedMs: number
  readonly snapshotMs: number
  readonly method: string
  /** Requests to the source while the snapshot was taken. */
  readonly requests: number
  readonly failed: number
  readonly slowestRequestMs: number
}

export interface Leftovers {
  readonly rounds: number
  readonly roundMs: number
  readonly left: readonly string[]
}

const answerTimeoutMs = 120_000
const clientsCount = 4
const attemptTimeoutMs = 5_000
const owner = { installation: 'bench', cluster: 'bench', operation: 'clone' }
export const sessions = 500
export const signal = AbortSignal.timeout(1_800_000)

export const specOf = (
  name: string,
  resources: InstanceSpec['resources'],
  template: Record<string, unknown>,
) => ({ name, owner, port: 8080, resources, template })

/** Boots one and gives it its identity and its sessions. */
export async function bootSource(driver: Driver, spec: InstanceSpec): Promise<Started> {
  const source = await timed(() => driver.create(spec, signal))
  await driver.identify(spec.name, identity(spec.name, 'created'), signal)
  for (let i = 0; i < sessions; i++) await ask(source.instance.address!, `/sessions/s${i}`, `value ${i}`)
  return { ...source, residentBytes: (await residentBytes(source.instance.pid!)) ?? Number.NaN }
}

/** Takes a snapshot while four clients ask the source one after another, and one request is in flight when it stops. */
export async function snapshotUnderRequests(driver: Driver, source: Started, name: string): Promise<Pause> {
  const { address } = source.instance
  const agent = new Agent({ keepAlive: true, maxSockets: clientsCount })
  const times: number[] = []
  let failed = 0
  let over = false
  const client = async () => {
    while (!over) {
      const begun = performance.now()
      await ask(address!, '/count', undefined, agent).catch(() => failed++)
      times.push(performance.now() - begun)
    }
  }
  // Their connections are open, as a proxy's are: QEMU's own network lets new ones in one at a time, and one that is turned away
  // comes again after a second, whether anybody is saved or not.
  await Promise.all(Array.from({ length: clientsCount }, () => ask(address!, '/count', undefined, agent)))
  const clients = Array.from({ length: clientsCount }, client)
  const inFlight = ask(address!, '/slow?ms=100').catch(() => failed++)
  const begun = performance.now()
  const report = await driver.snapshot({ name, owner, source: source.instance.name }, signal)
  const snapshotMs = performance.now() - begun
  over = true
  await Promise.all([...clients, inFlight])
  agent.destroy()
  const { pausedMs, method = '' } = report
  const slowestRequestMs = Math.max(...times)
  return { pausedMs, snapshotMs, method, requests: times.length + 1, failed, slowestRequestMs }
}

export const clone = (driver: Driver, spec: InstanceSpec, snapshot: string): Promise<HeldInstance> =>
  driver.clone({ ...spec, snapshot }, signal)

/** A clone up to its first answer. */
export const cloned = (driver: Driver, spec: InstanceSpec, snapshot: string): Promise<Started> =>
  timed(() => clone(driver, spec, snapshot))

export type Settled = Awaited<ReturnType<typeof settled>>

/** Gives a clone its identity; it must have every session. */
export async function settled(driver: Driver, spec: InstanceSpec, started: Started) {
  const begun = performance.now()
  await driver.identify(spec.name, identity(spec.name, 'cloned'), signal)
  const identifiedMs = performance.now() - begun
  const { count } = JSON.parse(await ask(started.instance.address!, '/count'))
  if (count !== sessions) throw new Error(`${spec.name} has ${count} of ${sessions} sessions`)
  const idle = (await residentBytes(started.instance.pid!)) ?? Number.NaN
  return { ...started, identifiedMs, idleBytes: idle }
}

/** From the start of the process to a monitor that takes commands: the machine of a clone, never run. */
export async function monitorReadyMs(directory: string, template: Record<string, unknown>): Promise<number> {
  const place = join(directory, 'monitor')
  mkdirSync(place, { recursive: true })
  writeFileSync(join(place, 'env'), '')
  const resources = { cpus: 1, memoryBytes: 384 * 2 ** 20, diskBytes: 0 }
  const machine = machineFor(resources, parseTemplate({ ...template, disk: false }), 'tcg', 0)
  writeFileSync(join(place, 'ram'), '')
  truncateSync(join(place, 'ram'), machine.memoryBytes)
  const times: number[] = []
  for (let i = 0; i < 11; i++) {
    const args = commandLine('monitor', machine, { from: 'clone', disk: null }, { forwards: [], tap: null })
    const begun = performance.now()
    const started = async () => {}
    const binary = 'qemu-system-x86_64'
    const start = { binary, directory: place, args, timeoutMs: 20_000, signal, started }
    const qmp = await startVm(start, systemClock)
    times.push(performance.now() - begun)
    qmp.close()
    await endVm(place, null, 0, systemClock)
  }
  rmSync(place, { recursive: true })
  return times.sort((a, b) => a - b)[5]!
}

/** Clones and destroys, one after another, in each of the networks in turn; then looks for what is still there. */
export async function rounds(
  driver: Driver,
  specs: readonly InstanceSpec[],
  snapshot: string,
  directory: string,
  count: number,
): Promise<Leftovers> {
  const before = await traces(driver, directory)
  const ports = new Set<number>()
  const begun = performance.now()
  for (let i = 0; i < count; i++) {
    const spec = { ...specs[i % specs.length]!, name: `round-${i}` }
    const { address } = await driver.clone({ ...spec, snapshot }, signal)
    if (address?.host === '127.0.0.1') ports.add(address.port)
    await driver.destroy(spec.name)
  }
  const roundMs = (performance.now() - begun) / count
  const after = await traces(driver, directory)
  const left = after.filter(trace => !before.includes(trace))
  for (const port of ports) if (!(await isFree(port))) left.push(`port ${port}`)
  return { rounds: count, roundMs, left }
}

/** Files, processes, sockets, namespaces and interfaces, each by a name that stays. */
async function traces(driver: Driver, directory: string): Promise<string[]> {
  await driver.inspect()
  const processes = readdirSync('/proc').filter(pid => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, 'utf8').includes(directory)
    } catch {
      return false
    }
  })
  const files = readdirSync(directory, { recursive: true, encoding: 'utf8' })
  const sockets = readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .filter(line => line.includes(directory))
  return [
    ...files.map(file => `file ${file}`),
    ...processes.map(pid => `process ${pid}`),
    ...sockets.map(line => `socket ${line.split(' ').at(-1)}`),
    ...said('ip', ['netns', 'list']).map(line => `namespace ${line.split(' ')[0]}`),
    ...said('ip', ['-o', 'link']).flatMap(line => /: (tg[0-9a-f]{8})@/.exec(line)?.[1] ?? []),
  ]
}

function said(command: string, args: readonly string[]): readonly string[] {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: 'pipe' }).split('\n').filter(Boolean)
  } catch {
    return []
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => server.close(() => resolve(true)))
  })
}

async function timed(start: () => Promise<HeldInstance>): Promise<Started> {
  const begunMs = performance.now()
  return answering(await started(start, begunMs), begunMs)
}

type Running = Pick<Started, 'instance' | 'runningMs'>

export async function started(start: () => Promise<HeldInstance>, begunMs: number): Promise<Running> {
  return { instance: await start(), runningMs: performance.now() - begunMs }
}

/** Up to its first answer. */
export async function answering({ instance, runningMs }: Running, begunMs: number): Promise<Started> {
  const deadline = performance.now() + answerTimeoutMs
  while (true) {
    try {
      await ask(instance.address!, '/healthz')
      break
    } catch (error) {
      if (performance.now() > deadline) throw error
    }
  }
  const firstAnswerMs = performance.now() - begunMs
  const resident = await residentBytes(instance.pid!)
  return { instance, runningMs, firstAnswerMs, residentBytes: resident ?? Number.NaN }
}

type Address = { readonly host: string; readonly port: number }

function ask(address: Address, path: string, body?: string, agent?: Agent): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { ...address, path, method: body === undefined ? 'GET' : 'POST' }
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
