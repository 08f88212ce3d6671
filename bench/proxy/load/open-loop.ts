/**
 * A script: requests at a fixed rate, whether answers come or not, over keep-alive connections. The latency of a request runs
 * from the moment it was due, so that one slow answer also counts for those that had to wait behind it.
 *
 * Node's timers know whole milliseconds only, so a thread that sleeps in `Atomics.wait` gives the beat.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { Worker } from 'node:worker_threads'
import { percentile } from '../stats.ts'
import { AnswerReader } from './answer.ts'
import { serveLoad } from './driver.ts'

export interface OpenLoopOptions {
  readonly port: number
  readonly connections: number
  readonly rate: number
  readonly seconds: number
}

export interface OpenLoopReport {
  readonly requests: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly p999Ms: number
  /** How late requests left that had a free connection: the generator's own share of the latencies. */
  readonly lateP99Ms: number
  readonly errors: number
}

interface Connection {
  readonly socket: Socket
  dueMs: number
  busy: boolean
}

const request = 'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\n\r\n'
/** What is not answered this long after the last request was due is an error. */
const lastAnswersMs = 2_000

class OpenLoop {
  readonly #options: OpenLoopOptions
  readonly #free: Connection[] = []
  /** When the requests were due that wait for a connection; `#firstWaiting` is the place of the oldest. */
  #waiting: number[] = []
  #firstWaiting = 0
  readonly #latencies: Float64Array
  #answered = 0
  readonly #late: number[] = []
  #errors = 0

  constructor(options: OpenLoopOptions) {
    this.#options = options
    this.#latencies = new Float64Array(Math.ceil(options.rate * options.seconds))
  }

  static async open(options: OpenLoopOptions): Promise<OpenLoop> {
    const loop = new OpenLoop(options)
    for (let i = 0; i < options.connections; i++) loop.#free.push(await loop.#connect())
    return loop
  }

  async run(): Promise<OpenLoopReport> {
    const { rate, seconds } = this.#options
    const total = this.#latencies.length
    const ticker = await startTicker(Math.max(0.25, 1_000 / rate))
    const startMs = performance.now() + 20
    const due = (index: number) => startMs + (index * 1_000) / rate
    let sent = 0
    await new Promise<void>(resolve => {
      ticker.on('message', () => {
        const nowMs = performance.now()
        while (sent < total && due(sent) <= nowMs) this.#begin(due(sent++), nowMs)
        if (sent < total) return
        if (this.#answered + this.#errors >= total || nowMs > startMs + seconds * 1_000 + lastAnswersMs)
          resolve()
      })
    })
    await ticker.terminate()
    this.#errors += Math.max(0, total - this.#answered - this.#errors)
    const ascending = this.#latencies.slice(0, this.#answered).sort()
    return {
      requests: this.#answered,
      p50Ms: percentile(ascending, 0.5),
      p99Ms: percentile(ascending, 0.99),
      p999Ms: percentile(ascending, 0.999),
      lateP99Ms: percentile(
        this.#late.sort((a, b) => a - b),
        0.99,
      ),
      errors: this.#errors,
    }
  }

  #begin(dueMs: number, nowMs: number): void {
    // The connection that rested longest: all of them stay in use.
    const connection = this.#free.shift()
    if (!connection) {
      this.#waiting.push(dueMs)
      return
    }
    this.#late.push(nowMs - dueMs)
    this.#send(connection, dueMs)
  }

  #send(connection: Connection, dueMs: number): void {
    connection.dueMs = dueMs
    connection.busy = true
    connection.socket.write(request, 'latin1')
  }

  async #connect(): Promise<Connection> {
    const socket = connect(this.#options.port, '127.0.0.1')
    await once(socket, 'connect')
    socket.setNoDelay(true)
    const connection: Connection = { socket, dueMs: 0, busy: false }
    const reader = new AnswerReader()
    socket.on('data', chunk => {
      const status = reader.read(chunk)
      if (status === null) return
      if (status === 200) this.#latencies[this.#answered++] = performance.now() - connection.dueMs
      else this.#errors++
      this.#release(connection)
    })
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      if (connection.busy) this.#errors++
      const at = this.#free.indexOf(connection)
      if (at >= 0) this.#free.splice(at, 1)
    })
    return connection
  }

  #release(connection: Connection): void {
    connection.busy = false
    if (this.#firstWaiting < this.#waiting.length) {
      this.#send(connection, this.#waiting[this.#firstWaiting++]!)
    } else this.#free.push(connection)
  }
}

async function startTicker(everyMs: number): Promise<Worker> {
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    const cell = new Int32Array(new SharedArrayBuffer(4))
    let next = performance.now()
    while (true) {
      next = Math.max(next + workerData, performance.now() - 5)
      Atomics.wait(cell, 0, 0, Math.max(0.01, next - performance.now()))
      parentPort.postMessage(0)
    }`
  const worker = new Worker(code, { eval: true, workerData: everyMs })
  await once(worker, 'message')
  return worker
}

if (import.meta.main) {
  await serveLoad<OpenLoopOptions>(async options => {
    const loop = await OpenLoop.open(options)
    return () => loop.run()
  })
}
