/**
 * The whole process is killed with SIGKILL at journal entries of scale_out and of scale_in, and started again: at every one, or at chosen ones.
 * Each time it must end in a state that the journal explains: both operations have ended, the instances that serve are those
 * that the store and the hypervisor hold, no source is paused, nothing is left over, and what was healthy serves at once.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { systemClock } from '../../../lib/clock.ts'
import type { DriverKind } from '../../../lib/config/config.ts'
import { createDriver } from '../../../lib/hypervisor/registry.ts'
import { silentLog } from '../../../lib/log.ts'
import type { OperationView } from '../../../lib/scaling/operation.ts'
import type { Arm } from '../../support/crash-server.ts'
import { type Demo, demoCluster } from '../../support/demo-cluster.ts'
import { get } from '../../support/load.ts'
import { until } from '../../support/wait.ts'

/** No operation writes as many entries; reached only if the loop's own end condition is broken. */
const entriesMax = 60
/** As `npm test` has it: what a hundred lives load is compiled once. */
const compiled = join(import.meta.dirname, '../../../node_modules/.cache/node-compile')

/** A journal entry right after which it dies. */
export interface Point {
  readonly type: Kind
  readonly step: string
  readonly kind: 'started' | 'done'
}

export interface CrashOptions {
  readonly driver: DriverKind
  readonly moments: readonly ('after' | 'before')[]
  readonly readyTimeoutMs: number
}

export type Kind = 'scale_out' | 'scale_in'
const other = (type: Kind): Kind => (type === 'scale_out' ? 'scale_in' : 'scale_out')

export function crashSuite(options: CrashOptions): void {
  for (const moment of options.moments) {
    t.test(`SIGKILL ${moment} every journal entry on ${options.driver}`, async t => {
      // Both shapes of the data plane.
      const { demo, first } = await begin(t, options, moment === 'after' ? 1 : 0)
      let running = first
      const points = { scale_out: 0, scale_in: 0 }
      const done = new Set<Kind>()
      while (done.size < 2) {
        // What the last crash left is where the next operation begins: an instance made or ended only for that would be dear.
        const fits: Kind = (await serving(running)).length === 1 ? 'scale_out' : 'scale_in'
        const type = done.has(fits) ? other(fits) : fits
        const entry = points[type] + 1
        if (entry > entriesMax) throw new Error('the operation never ends')
        const heir = await crashAt(t, demo, running, { type, entry, moment }, options)
        running = heir ?? running
        if (heir) points[type] = entry
        else done.add(type)
      }
      await kill(running)
      const least = moment === 'after' ? { scale_out: 22, scale_in: 18 } : { scale_out: 11, scale_in: 9 }
      t.ok(points.scale_out >= least.scale_out, `scale_out was killed at ${points.scale_out} entries`)
      t.ok(points.scale_in >= least.scale_in, `scale_in was killed at ${points.scale_in} entries`)
    })
  }
}

/** The same at some entries: of those that mean the same for what a hypervisor holds, one. */
export function crashPoints(options: CrashOptions, points: readonly Point[]): void {
  t.test(`SIGKILL at the entries that matter to ${options.driver}`, async t => {
    const { demo, first } = await begin(t, options, 1)
    let running = first
    const waiting = [...points]
    while (waiting.length > 0) {
      // As above: what the last crash left is where the next operation begins.
      const fits: Kind = (await serving(running)).length === 1 ? 'scale_out' : 'scale_in'
      const at = Math.max(
        0,
        waiting.findIndex(({ type }) => type === fits),
      )
      const [point] = waiting.splice(at, 1) as [Point]
      const heir = await crashAt(t, demo, running, { ...point, entry: 1, moment: 'after' }, options)
      t.ok(heir, `${point.type} was killed at ${point.step} ${point.kind}`)
      running = heir ?? running
    }
    await kill(running)
  })
}

/** One instance that serves and keeps a session. */
async function begin(t: Test, options: CrashOptions, threads: number) {
  const demo = await demoCluster(t, {
    driver: options.driver,
    threads,
    drainSeconds: 0,
    healthyThreshold: 1,
    healthInterval: '500ms',
    maxInstances: 3,
  })
  writeFileSync(join(demo.directory, 'tidegate.json'), demo.text)
  const first = await start(t, demo)
  await until('the first instance', async () => (await serving(first)).length === 1, options.readyTimeoutMs)
  await get(first.port, '/sessions/kept', { method: 'POST', body: 'treasure' })
  return { demo, first }
}

interface Running {
  readonly child: ChildProcess
  readonly port: number
  readonly admin: number
}

/** Kills a life at the given entry and starts the next, which must clear up. Null when the operation ended before that entry. */
async function crashAt(
  t: Test,
  demo: Demo,
  doomed: Running,
  crash: Arm & { readonly type: Kind },
  options: CrashOptions,
): Promise<Running | null> {
  const from = crash.type === 'scale_out' ? 1 : 2
  const to = crash.type === 'scale_out' ? 2 : 1
  await bringTo(doomed, from, options)
  await arm(doomed, crash)
  const exited = once(doomed.child, 'exit')
  try {
    await scale(doomed, to)
    await arm(doomed, { ...crash, entry: 0 })
    return null
  } catch (error) {
    // No answer: it has died. An answer that is a refusal is another matter.
    if (!(error instanceof TypeError)) throw error
    await exited
  }

  const heir = await start(t, demo)
  const where = `${crash.type}, ${crash.step === undefined ? `entry ${crash.entry}` : `${crash.step} ${crash.kind}`}`
  const answer = await get(heir.port, '/sessions/kept')
  t.equal(answer.status, 200, `${where}: served at once after the restart`)
  await until(
    `${where}: recovery`,
    async () => (await operations(heir)).every(op => op.status !== 'running'),
    options.readyTimeoutMs,
  )
  await explained(t, heir, demo, { where, from, to })
  return heir
}

/** Journal, rotation and hypervisor tell the same story. */
async function explained(
  t: Test,
  heir: Running,
  demo: Demo,
  expected: { where: string; from: number; to: number },
): Promise<void> {
  const { where, from, to } = expected
  const [last] = await operations(heir)
  const backends = await serving(heir)
  const count = last?.status === 'completed' && moved(last, from, to) ? to : from
  t.equal(
    backends.length,
    count,
    `${where}: ${count} serve, as the journal says (${last?.type} ${last?.status})`,
  )
  const driver = createDriver(demo.config.nodes[0]!, { clock: systemClock, log: silentLog })
  const held = await until(`${where}: reality is as the journal says`, async () => {
    const now = await driver.inspect()
    return now.instances.length === count && now.snapshots.length === 0 ? now : null
  }).catch(async () => driver.inspect())
  t.strictSame(
    held.instances.map(({ name }) => name).sort(),
    [...backends].sort(),
    `${where}: no orphan, nothing missing`,
  )
  t.same(held.snapshots, [], `${where}: no snapshot left`)
  t.ok(
    held.instances.every(({ state }) => state === 'running'),
    `${where}: no source left paused`,
  )
  for (const { address } of held.instances) {
    const { body } = await get(address!.port, '/sessions/kept', { host: address!.host })
    t.match(body, /treasure/, `${where}: the state is there`)
  }
}

/** Whether the last operation is the one that was cut off, and not an older one (it died before it was journaled). */
const moved = (last: OperationView, from: number, to: number) =>
  last.type === (to > from ? 'scale_out' : 'scale_in')

async function start(t: Test, demo: Demo): Promise<Running> {
  const script = join(import.meta.dirname, '../../support/crash-server.ts')
  const child = spawn(process.execPath, [script, demo.directory], {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    env: { NODE_COMPILE_CACHE: compiled, ...process.env },
  })
  t.teardown(() => child.kill('SIGKILL'))
  const lines = createInterface({ input: child.stdout! })
  const [line] = await Promise.race([
    once(lines, 'line'),
    once(child, 'exit').then(([code, signal]) =>
      Promise.reject(new Error(`the server ended: ${code ?? signal}`)),
    ),
  ])
  return { child, ...(JSON.parse(line as string) as { port: number; admin: number }) }
}

async function arm(running: Running, { entry, moment, step, kind }: Arm): Promise<void> {
  const armed = once(running.child, 'message')
  running.child.send({ entry, moment, step, kind })
  await armed
}

async function kill(running: Running): Promise<void> {
  const exited = once(running.child, 'exit')
  running.child.kill('SIGKILL')
  await exited
}

async function bringTo(running: Running, count: number, options: CrashOptions): Promise<void> {
  await until(
    'nothing runs',
    async () => (await operations(running)).every(op => op.status !== 'running'),
    options.readyTimeoutMs,
  )
  if ((await serving(running)).length !== count) await scale(running, count)
  await until(`${count} serve`, async () => (await serving(running)).length === count, options.readyTimeoutMs)
}

/** Resolves when the operation has ended well. A TypeError is a connection that broke. */
async function scale(running: Running, target: number): Promise<void> {
  const body = JSON.stringify({ target_count: target })
  const answer = await fetch(`http://127.0.0.1:${running.admin}/api/v1/clusters/demo/scale?wait=4m`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  })
  if (!answer.ok) throw new Error(await answer.text())
}

async function operations(running: Running): Promise<readonly OperationView[]> {
  return (await read<{ operations: readonly OperationView[] }>(running, 'operations?limit=5')).operations
}

/** The backends in rotation. */
async function serving(running: Running): Promise<readonly string[]> {
  const { backends } = await read<{ backends: readonly { id: string; state: string }[] }>(
    running,
    'clusters/demo/backends',
  )
  return backends.filter(({ state }) => state === 'ready').map(({ id }) => id)
}

async function read<T>(running: Running, path: string): Promise<T> {
  const answer = await fetch(`http://127.0.0.1:${running.admin}/api/v1/${path}`)
  if (!answer.ok) throw new Error(await answer.text())
  return (await answer.json()) as T
}
