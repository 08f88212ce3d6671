/** Programs that the bench runs beside itself: each on its core, each ended with the bench, whatever happens. */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { availableParallelism } from 'node:os'
import { basename } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'

export { freePort } from '../../test/support/ports.ts'

/** Where a program runs: what is measured has the first core for itself, everything else has the others. */
export type Side = 'subject' | 'others'

const cores = availableParallelism()
export const pinned = cores >= 2 && has('taskset')

export function pin(side: Side, command: readonly string[]): readonly string[] {
  if (!pinned) return command
  // `taskset` becomes the program: the process id is the program's own.
  return ['taskset', '-c', side === 'subject' ? '0' : `1-${cores - 1}`, ...command]
}

/** Answers a question about a program (its version), at once. Standard error is read too: nginx answers there. */
export function ask(program: string, ...args: string[]): string {
  const { stdout, stderr, status, error } = spawnSync(program, args, { encoding: 'utf8', timeout: 10_000 })
  return error || status === null ? '' : `${stdout}${stderr}`
}

export function has(program: string): boolean {
  return spawnSync('sh', ['-c', 'command -v "$1"', 'sh', program]).status === 0
}

const alive = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of alive) child.kill('SIGKILL')
})

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly stdin?: 'pipe' | 'ignore'
}

/** Starts a program. What it says on standard error is kept for the message of its failure. */
export function start(side: Side, command: readonly string[], options: StartOptions = {}): Child {
  const [program, ...args] = pin(side, command)
  const child = spawn(program!, args, {
    stdio: [options.stdin ?? 'ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...options.env },
  })
  return new Child(child, basename(command[0]!))
}

const complaintCharsMax = 4_000
const stopTimeoutMs = 2_000

export class Child {
  readonly #process: ChildProcess
  readonly #name: string
  readonly #lines: string[] = []
  readonly #waiting: ((line: string | null) => void)[] = []
  #rest = ''
  #complaints = ''
  #ended = false

  constructor(child: ChildProcess, name: string) {
    this.#process = child
    this.#name = name
    alive.add(child)
    child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#take(text))
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#complaints = (this.#complaints + text).slice(-complaintCharsMax)
    })
    child.stdin?.on('error', () => {})
    child.on('error', error => {
      this.#complaints += error.message
    })
    child.on('close', () => {
      alive.delete(child)
      this.#ended = true
      for (const resolve of this.#waiting.splice(0)) resolve(null)
    })
  }

  get pid(): number {
    return this.#process.pid!
  }

  /** The next line of its standard output. Throws with what it complained of when it ends first. */
  async line(timeoutMs = 30_000): Promise<string> {
    const ready = this.#lines.shift()
    if (ready !== undefined) return ready
    const cancel = new AbortController()
    const line = this.#ended
      ? null
      : await Promise.race([
          new Promise<string | null>(resolve => this.#waiting.push(resolve)),
          delay(timeoutMs, undefined, { signal: cancel.signal }).catch(() => undefined),
        ])
    cancel.abort()
    if (typeof line === 'string') return line
    const what = line === null ? 'ended' : `said nothing for ${timeoutMs / 1000} s`
    throw new Error(`${this.#name} ${what}: ${this.#complaints.trim() || 'no message'}`)
  }

  say(line: string): void {
    this.#process.stdin?.write(`${line}\n`)
  }

  get complaints(): string {
    return this.#complaints.trim()
  }

  get ended(): boolean {
    return this.#ended
  }

  async stop(): Promise<void> {
    if (this.#ended) return
    const closed = once(this.#process, 'close')
    this.#process.kill('SIGKILL')
    await Promise.race([closed, delay(stopTimeoutMs, undefined, { ref: false })])
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop()!
    for (const line of lines) {
      const resolve = this.#waiting.shift()
      if (resolve) resolve(line)
      else this.#lines.push(line)
    }
  }
}

/** Runs a program to its end; resolves to its standard output, rejects with what it complained of. */
export async function run(side: Side, command: readonly string[], timeoutMs: number): Promise<string> {
  const [program, ...args] = pin(side, command)
  const { stdout } = await promisify(execFile)(program!, args, {
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    maxBuffer: 16 * 2 ** 20,
  })
  return stdout
}

/** Waits until it is up; when it does not come up, it is stopped and its complaint thrown. */
export async function whenUp<T>(child: Child, up: (child: Child) => Promise<T>): Promise<T> {
  try {
    return await up(child)
  } catch (error) {
    await child.stop()
    throw error
  }
}

/** Resolves when somebody listens on the port; throws with the child's complaint when it ended instead. */
export async function untilConnects(port: number, child: Child): Promise<void> {
  for (let attempt = 0; attempt < 400; attempt++) {
    if (child.ended) throw new Error(`it ended at its start: ${child.complaints}`)
    const socket = connect(port, '127.0.0.1')
    const connected = await Promise.race([
      once(socket, 'connect').then(() => true),
      once(socket, 'error').then(() => false),
    ]).catch(() => false)
    socket.destroy()
    if (connected) return
    await delay(25)
  }
  throw new Error(`nothing listens on port ${port}: ${child.complaints}`)
}
