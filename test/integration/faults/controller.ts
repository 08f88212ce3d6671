/**
 * The Tidegate of a case: in this process, where it is seen step by step, or in one of its own, where it can be killed. One after the other over the same
 * store and the same nodes; whoever comes next finds what the one before it left.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Command } from '../../../lib/command.ts'
import type { OperationView } from '../../../lib/scaling/operation.ts'
import type { Arm } from '../../support/crash-server.ts'
import { until } from '../../support/wait.ts'

/** As `npm test` has it: what many lives load is compiled once. */
const compiled = join(import.meta.dirname, '../../../node_modules/.cache/node-compile')
const script = join(import.meta.dirname, '../../support/crash-server.ts')

/** In a process of its own, over the folder of an installation. */
export class Doomed {
  readonly port: number
  readonly #admin: number
  readonly #child: ChildProcess
  readonly #exited: Promise<unknown>

  private constructor(child: ChildProcess, ports: { readonly port: number; readonly admin: number }) {
    this.port = ports.port
    this.#admin = ports.admin
    this.#child = child
    this.#exited = (child.exitCode ?? child.signalCode) ? Promise.resolve() : once(child, 'exit')
  }

  static async start(directory: string, waitMs: number): Promise<Doomed> {
    const child = spawn(process.execPath, [script, directory], {
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
      env: { NODE_COMPILE_CACHE: compiled, ...process.env },
    })
    const [line] = await Promise.race([
      once(createInterface({ input: child.stdout! }), 'line'),
      once(child, 'exit').then(([code, signal]) =>
        Promise.reject(new Error(`the controller ended: ${code ?? signal}`)),
      ),
    ])
    const doomed = new Doomed(child, JSON.parse(line as string))
    await until('its members are well', () => doomed.#well(), waitMs)
    return doomed
  }

  async arm(arm: Arm): Promise<void> {
    const armed = once(this.#child, 'message')
    this.#child.send(arm)
    await armed
  }

  execute(command: Command): void {
    this.#child.send({ execute: command })
  }

  /** True: it has died. False: an operation of that type, which is none of those, has ended before it could. */
  async died(type: string, before: ReadonlySet<string>, waitMs: number): Promise<boolean> {
    const dead = () => this.#child.exitCode !== null || this.#child.signalCode !== null
    let over = false
    await until(
      'it dies',
      async () => {
        if (dead()) return true
        over = (await this.#operations()).some(
          one => one.type === type && one.status !== 'running' && !before.has(one.id),
        )
        return over && !dead()
      },
      waitMs,
    )
    return dead()
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#exited
  }

  async #operations(): Promise<readonly OperationView[]> {
    const body = await this.#read('operations?limit=5').catch(() => ({ operations: [] }))
    return (body as { operations: readonly OperationView[] }).operations
  }

  async #well(): Promise<boolean> {
    const { backends } = (await this.#read('clusters/web/backends')) as {
      backends: readonly { state: string }[]
    }
    return backends.length > 0 && backends.every(({ state }) => state === 'ready')
  }

  async #read(path: string): Promise<unknown> {
    const answer = await fetch(`http://127.0.0.1:${this.#admin}/api/v1/${path}`)
    if (!answer.ok) throw new Error(await answer.text())
    return answer.json()
  }
}
