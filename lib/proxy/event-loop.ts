/**
 * One event loop of the data plane, as control sees it: a worker, or this very thread. It carries messages and tells how it ended;
 * what they mean is the plane's.
 *
 *   made ──► serving ──► leaving: it listens no more, and goes when what it has is over ──► ended
 *     └─────────┴── error, exit ──────────────────────────────────────────────────────────────┘
 */
import { Worker } from 'node:worker_threads'
import type { Clock } from '../clock.ts'
import { compiledEnv } from '../compiled.ts'
import type { Log, LogLevel } from '../log.ts'
import type { DataPlane } from './data-plane.ts'
import type { DataPlaneInit, FromThread, ToThread } from './messages.ts'

export interface Loop {
  /** Its column in everything that is shared. */
  readonly index: number
  acknowledged: number
  /** The generation that it was sent last. */
  sent: number
  serving: boolean
  /** A reload wants fewer; it is not replaced. */
  leaving: boolean
  readonly startedAtMs: number
  send(message: ToThread): void
  terminate(): void
}

/** Who hears of a loop. */
export interface LoopEars {
  receive(loop: Loop, message: FromThread): void
  crashed(loop: Loop, error: Error): void
  ended(loop: Loop, detail: string): void
}

export interface LoopDeps {
  readonly clock: Clock
  readonly log: Log
  /** Left out: each thread is made when it is wanted. */
  readonly spares?: SpareThreads
}

/**
 * Threads that load their modules while control still reads its store. Whoever is not taken is ended by `end`; one that died
 * meanwhile is not given to anybody.
 */
export class SpareThreads {
  readonly #threads = new Map<number, Worker>()

  constructor(count: number, log: Log) {
    for (let index = 0; index < count; index++) {
      const worker = newWorker(index, log)
      this.#threads.set(index, worker)
      const lost = (why: unknown) => {
        if (this.#threads.delete(index))
          log.warn({ thread: index, err: why }, 'a thread that was to be ready did not become so')
      }
      worker.once('error', lost)
      worker.once('exit', code => lost(`exit code ${code}`))
    }
  }

  take(index: number): Worker | null {
    const worker = this.#threads.get(index) ?? null
    this.#threads.delete(index)
    worker?.removeAllListeners('error').removeAllListeners('exit')
    return worker
  }

  async end(): Promise<void> {
    const left = [...this.#threads.values()]
    this.#threads.clear()
    await Promise.all(left.map(worker => worker.terminate()))
  }
}

const newWorker = (index: number, log: Log) =>
  new Worker(new URL('./thread.ts', import.meta.url), {
    workerData: { logLevel: log.level as LogLevel },
    name: `tidegate-data-${index}`,
    env: compiledEnv(),
  })

export function workerLoop(init: DataPlaneInit, { clock, log, spares }: LoopDeps, ears: LoopEars): Loop {
  const worker = spares?.take(init.thread) ?? newWorker(init.thread, log)
  worker.postMessage(init)
  const loop: Loop = {
    ...bornWith(init, clock),
    send: message => worker.postMessage(message),
    terminate: () => void worker.terminate(),
  }
  worker.on('message', (message: FromThread) => ears.receive(loop, message))
  worker.on('error', error => ears.crashed(loop, error))
  worker.on('exit', code => ears.ended(loop, `exit code ${code}`))
  return loop
}

/** `threads: 0`: the same data plane on this loop; messages still travel one turn later, so order is the same. */
export function inlineLoop(init: DataPlaneInit, { clock, log }: LoopDeps, ears: LoopEars): Loop {
  const post = (message: FromThread) => {
    setImmediate(() => {
      ears.receive(loop, message)
      if (message.type === 'stopped' || message.type === 'failed') ears.ended(loop, 'stopped')
    })
  }
  const made = startedInline(init, { post, clock, log })
  const receive = (message: ToThread) => void made.then(plane => setImmediate(() => plane.receive(message)))
  const loop: Loop = {
    ...bornWith(init, clock),
    send: receive,
    terminate: () => receive({ type: 'stop', shutdown: { ...atTheEnd, graceMs: 0 }, awaitClients: false }),
  }
  made.catch((error: Error) => ears.crashed(loop, error))
  return loop
}

/** Where there are threads, control has no use for all that serves a request, and starts without it. */
async function startedInline(init: DataPlaneInit, deps: ConstructorParameters<typeof DataPlane>[1]) {
  const { DataPlane } = await import('./data-plane.ts')
  const plane = new DataPlane(init, deps)
  void plane.start()
  return plane
}

const bornWith = ({ thread, table }: DataPlaneInit, clock: Clock) => ({
  index: thread,
  acknowledged: table.generation,
  sent: table.generation,
  serving: false,
  leaving: false,
  startedAtMs: clock.monotonic(),
})

/** What nobody has told otherwise: tunnels stay until the end, and are told then. `ordinary`: for those who embed a data plane. */
const atTheEnd = { tunnels: 'keep', closeCode: 1001, closeSpreadMs: 0 } as const
export const stops = { atTheEnd, ordinary: { ...atTheEnd, graceMs: 30_000 } } as const
