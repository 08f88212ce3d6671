/** The process of `server.ts` as the soak sees it: what it holds, by its admin API and by the kernel. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { Ports } from './server.ts'

export interface Holds {
  /** By the board, all threads. */
  readonly inFlight: number
  readonly tunnels: number
  /** Used heap of each data-plane thread, bytes. */
  readonly heapBytes: readonly number[]
  /** Outside of it, of each: buffers. */
  readonly externalBytes: readonly number[]
  /** What the process has in memory, whoever asked for it. */
  readonly residentBytes: number
  /** Open sockets of the process, listeners and all; -1 where there is no /proc. */
  readonly sockets: number
}

export class Tidegate {
  readonly port: number
  readonly #admin: string
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, { traffic, admin }: Ports) {
    this.#child = child
    this.port = traffic
    this.#admin = `http://127.0.0.1:${admin}`
  }

  static async start(backends: readonly number[], threads: number): Promise<Tidegate> {
    const config = {
      listeners: [{ address: '127.0.0.1:0' }],
      threads,
      admin: { address: '127.0.0.1:0' },
      store: { kind: 'memory' },
      // The machine may be busy with the load itself.
      overload: { max_event_loop_delay: '60s' },
      clusters: [
        {
          id: 'web',
          balance: 'round_robin',
          affinity: { method: 'none' },
          backends: backends.map((port, i) => ({ id: `b${i}`, address: `127.0.0.1:${port}` })),
          health: { path: '/health', interval: '200ms', timeout: '1s', healthy_threshold: 1 },
        },
      ],
    }
    const child = fork(join(import.meta.dirname, 'server.ts'), [JSON.stringify(config)])
    const [ports] = await Promise.race([
      once(child, 'message'),
      once(child, 'exit').then(([code]) => Promise.reject(new Error(`it ended with ${code}`))),
    ])
    return new Tidegate(child, ports as Ports)
  }

  /** The process has ended by itself. */
  get died(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  async holds(): Promise<Holds> {
    const metrics = await this.#get('/metrics')
    const sum = (name: string) => valuesOf(metrics, name).reduce((all, one) => all + one, 0)
    return {
      inFlight: sum('tidegate_backend_in_flight'),
      tunnels: sum('tidegate_backend_tunnels'),
      heapBytes: valuesOf(metrics, 'tidegate_thread_heap_bytes'),
      externalBytes: valuesOf(metrics, 'tidegate_thread_external_bytes'),
      residentBytes: sum('process_resident_memory_bytes'),
      sockets: this.#sockets(),
    }
  }

  async stop(): Promise<void> {
    if (this.died) return
    const exited = once(this.#child, 'exit')
    this.#child.send('stop')
    await exited
  }

  async #get(path: string): Promise<string> {
    // No kept connection: it would be counted among the sockets.
    const response = await fetch(this.#admin + path, { headers: { connection: 'close' } })
    if (!response.ok) throw new Error(`${path}: ${response.status}`)
    return response.text()
  }

  #sockets(): number {
    const folder = `/proc/${this.#child.pid}/fd`
    try {
      return readdirSync(folder).filter(name => linkOf(join(folder, name)).startsWith('socket:')).length
    } catch {
      return -1
    }
  }
}

/** Of a metric without regard to its labels. */
function valuesOf(text: string, name: string): number[] {
  return [...text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? ([0-9.e+-]+)$`, 'gm'))].map(([, value]) =>
    Number(value),
  )
}

/** A file that was closed meanwhile is none. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}
