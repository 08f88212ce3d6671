/** An event loop that shares a circuit's limit with others: many requests at once, each inside for a moment. */
import { parentPort, workerData } from 'node:worker_threads'
import { systemClock } from '../../lib/clock.ts'
import type { LimitsConfig } from '../../lib/config/config.ts'
import { openBell } from '../../lib/proxy/resilience/bell.ts'
import { Circuit, type CircuitClient, Circuits } from '../../lib/proxy/resilience/circuit.ts'
import { CircuitBoard, type CircuitBuffer } from '../../lib/proxy/resilience/circuit-board.ts'

export interface CircuitWork {
  readonly thread: number
  readonly circuits: CircuitBuffer
  readonly limits: LimitsConfig
  readonly requests: number
  readonly atOnce: number
  /** Inside now, over all threads; the most that were; how many were served. */
  readonly tally: SharedArrayBuffer
}

const { thread, circuits, limits, requests, atOnce, tally } = workerData as CircuitWork
const board = new CircuitBoard(circuits)
const bell = openBell(board, thread)
const loop = new Circuits({ board, thread, clock: systemClock, bell })
const circuit = new Circuit(loop, 0, limits)
const words = new Int32Array(tally)
let left = requests
let refused = 0
let open = atOnce

class Request implements CircuitClient {
  begin(): void {
    if (left-- <= 0) {
      if (--open > 0) return
      loop.close()
      parentPort!.postMessage({ refused })
      parentPort!.close()
      return
    }
    if (circuit.enter()) this.inside()
    else if (typeof circuit.wait(this) === 'string') this.refused()
  }

  admitted(): boolean {
    this.inside()
    return true
  }

  refused(): void {
    refused++
    setImmediate(() => this.begin())
  }

  inside(): void {
    const now = Atomics.add(words, 0, 1) + 1
    if (now > Atomics.load(words, 1)) Atomics.store(words, 1, now)
    setImmediate(() => {
      Atomics.add(words, 2, 1)
      Atomics.sub(words, 0, 1)
      circuit.leave()
      this.begin()
    })
  }
}

parentPort!.once('message', () => {
  for (let i = 0; i < atOnce; i++) new Request().begin()
})
