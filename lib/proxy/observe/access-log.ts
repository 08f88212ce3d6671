/**
 * The access log of one thread: a line for each exchange that is wanted, gathered in blocks, written in the background.
 * It never waits and never grows: who writes faster than the file takes it loses lines, and is told how many.
 *
 *   record ──► current block ──full, or 200 ms──► sealed blocks ──one at a time, with the baton──► file
 *                  └── no block left: the line is dropped and counted
 */
import type { Clock } from '../../clock.ts'
import type { AccessLogConfig } from '../../config/config.ts'
import type { Log } from '../../log.ts'
import { accessLine, lineCharsMax } from './access-line.ts'
import type { Baton } from './baton.ts'
import type { CounterColumn } from './counters.ts'
import type { ExchangeRecord } from './exchange-record.ts'
import { LogFile } from './log-file.ts'
import type { TurnClock } from './turn-clock.ts'

export const blockBytes = 64 * 1024
/** What may wait to be written, in a thread: 1 MiB. */
export const blocksMax = 16
/** A line is at most this old when it is written, unless the file is behind. */
const flushMs = 200
const tickMs = 1_000
/** Another thread is writing: asked again after this. */
const batonRetryMs = 5
const closeLimitMs = 2_000

interface Block {
  readonly bytes: Buffer
  length: number
  lines: number
}

export interface AccessLogDeps {
  readonly clock: Clock
  readonly turns: TurnClock
  readonly counters: CounterColumn
  /** One thread writes at a time: pieces of lines are never mixed, and at most one of the process's few file threads is held. */
  readonly baton: Baton
  readonly log: Log
  /** 0 to 1. */
  readonly random: () => number
}

export class AccessLog {
  readonly #config: AccessLogConfig
  readonly #deps: AccessLogDeps
  readonly #file: LogFile
  readonly #cancelTick: () => void
  #current: Block | null = null
  readonly #sealed: Block[] = []
  #spare: Block | null = null
  #blocks = 0
  #writing = false
  #flushCancel: (() => void) | null = null
  #batonCancel: (() => void) | null = null
  #dropped = 0
  #drained: (() => void) | null = null

  constructor(config: AccessLogConfig, deps: AccessLogDeps) {
    this.#config = config
    this.#deps = deps
    this.#file = new LogFile(config.path, { clock: deps.clock, log: deps.log, onReady: () => this.#pump() })
    this.#cancelTick = deps.clock.every(tickMs, () => this.#tick())
  }

  record(record: ExchangeRecord): void {
    if (!this.#wanted(record)) return
    const line = accessLine(record, this.#deps.turns.text(record.startMs), this.#config)
    const block = this.#room(line.length)
    if (block === null) {
      this.#dropped++
      this.#deps.counters.fact('logDropped', 1)
      return
    }
    block.length += block.bytes.write(line, block.length, 'latin1')
    block.lines++
    this.#flushCancel ??= this.#deps.clock.after(flushMs, () => this.#flush())
  }

  /** After a reload, or when the file was moved away by somebody who says so. */
  reopen(): void {
    this.#file.reopen()
  }

  /** Writes what is left, for two seconds at most. Nothing may be recorded after it. */
  async close(): Promise<void> {
    this.#flush()
    if (this.#blocks > 0) {
      const { clock } = this.#deps
      await new Promise<void>(resolve => {
        const cancel = clock.after(closeLimitMs, resolve)
        this.#drained = () => {
          cancel()
          resolve()
        }
      })
    }
    this.#cancelTick()
    this.#batonCancel?.()
    this.#file.close()
    if (this.#writing) this.#deps.baton.give()
    this.#giveUp()
  }

  #wanted(record: ExchangeRecord): boolean {
    const { sample, errors, slowMs } = this.#config
    if (sample >= 1) return true
    if (errors === 'always' && (record.error !== null || record.status >= 500)) return true
    if (record.endMs - record.startMs >= slowMs) return true
    return sample > 0 && this.#deps.random() < sample
  }

  /** The block that takes `bytes` more; null: all are full. */
  #room(bytes: number): Block | null {
    const current = this.#current
    if (current !== null && current.length + bytes <= blockBytes) return current
    if (bytes > lineCharsMax) return null
    if (current !== null) this.#seal(current)
    if (this.#blocks >= blocksMax) return null
    this.#blocks++
    this.#current = this.#spare ?? { bytes: Buffer.allocUnsafeSlow(blockBytes), length: 0, lines: 0 }
    this.#spare = null
    return this.#current
  }

  #seal(block: Block): void {
    this.#current = null
    this.#sealed.push(block)
    this.#pump()
  }

  #flush(): void {
    this.#flushCancel?.()
    this.#flushCancel = null
    if (this.#current !== null) this.#seal(this.#current)
  }

  #pump(): void {
    const block = this.#sealed[0]
    if (block === undefined || this.#writing || !this.#file.ready) return
    if (!this.#deps.baton.take()) {
      this.#batonCancel ??= this.#deps.clock.after(batonRetryMs, () => {
        this.#batonCancel = null
        this.#pump()
      })
      return
    }
    this.#writing = true
    this.#file.write(block.bytes, block.length, () => this.#written(block))
  }

  #written(block: Block): void {
    this.#deps.baton.give()
    this.#deps.counters.fact('logLines', block.lines)
    this.#writing = false
    this.#sealed.shift()
    this.#blocks--
    block.length = 0
    block.lines = 0
    this.#spare = block
    if (this.#blocks === 0) this.#drained?.()
    this.#pump()
  }

  #tick(): void {
    this.#file.tick()
    this.#sayDropped()
  }

  #giveUp(): void {
    const lost = this.#sealed.reduce((sum, { lines }) => sum + lines, 0)
    this.#dropped += lost
    if (lost > 0) this.#deps.counters.fact('logDropped', lost)
    this.#sealed.length = 0
    this.#sayDropped()
  }

  #sayDropped(): void {
    if (this.#dropped === 0) return
    this.#deps.log.warn(
      { path: this.#config.path, lines: this.#dropped },
      'the access log is behind; lines were dropped',
    )
    this.#dropped = 0
  }
}
