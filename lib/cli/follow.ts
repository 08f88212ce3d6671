/**
 * Waits for an operation and shows its steps as they go: redrawn on a terminal, line by line elsewhere.
 * Events say when to look; a poll looks anyway, so a lost stream costs a second and nothing else.
 */
import type { OperationView } from '../scaling/operation.ts'
import { type AdminClient, segment } from './client.ts'
import { CliError, type Context, line } from './io.ts'
import { listen } from './listen.ts'
import { changedLines, endLine, operationLines } from './steps.ts'

const pollEveryMs = 1000
const redrawEveryMs = 250
/** How long the admin API may be away (it restarts, the network hiccups) before waiting is given up. */
const awayMsMax = 15_000

/** Resolves with the operation when it has ended, whatever its end. Ctrl-C leaves it running and ends with exit 1. */
export async function follow(
  context: Context,
  client: AdminClient,
  first: OperationView,
): Promise<OperationView> {
  const { io } = context
  const view = context.json ? null : io.stdout.isTTY ? new Redrawn(context) : new Appended(context)
  const wake = new Wake()
  let current = first
  let interrupted = false
  const stopListening = listen(client, 0, ({ event }) => {
    if ('operation_id' in event && event.operation_id === first.id) wake.now()
  })
  const stopPoll = io.clock.every(pollEveryMs, () => wake.now())
  const stopRedraw = io.clock.every(redrawEveryMs, () => view?.tick(current))
  const stopSignals = io.onSignal(() => {
    interrupted = true
    wake.now()
  })
  let seenAtMs = io.clock.monotonic()
  try {
    view?.show(current)
    while (current.status === 'running') {
      await wake.wait()
      if (interrupted) throw leaving(first)
      try {
        current = await client.get<OperationView>(`/api/v1/operations/${segment(first.id)}`)
        seenAtMs = io.clock.monotonic()
      } catch (error) {
        if (!(error instanceof CliError) || error.exit !== 3) throw error
        if (io.clock.monotonic() - seenAtMs > awayMsMax) throw error
      }
      view?.show(current)
    }
    view?.end(current)
    return current
  } finally {
    stopListening()
    stopPoll()
    stopRedraw()
    stopSignals()
  }
}

/** Exit 0 when it completed; otherwise its own error as exit 1. */
export function verdict(operation: OperationView): void {
  if (operation.status === 'completed') return
  const { code, message } = operation.error ?? {
    code: 'operation_failed',
    message: `it was ${operation.status}`,
  }
  const status = operation.status === 'stuck' ? 'is stuck' : operation.status
  throw new CliError(1, code, `${operation.type} of ${operation.cluster_id} ${status}: ${message}`, {
    operation_id: operation.id,
    operation,
  })
}

const leaving = ({ id, type, cluster_id }: OperationView) =>
  new CliError(
    1,
    'interrupted',
    `${type} of ${cluster_id} goes on without you. Follow it: tidegate operations ${id} --follow`,
    { operation_id: id },
  )

/** One waiter that anything may wake; a wake while nobody waits is kept. */
class Wake {
  #pending = false
  #resolve: (() => void) | null = null

  now(): void {
    this.#pending = true
    this.#resolve?.()
  }

  async wait(): Promise<void> {
    if (!this.#pending) {
      await new Promise<void>(resolve => {
        this.#resolve = resolve
      })
      this.#resolve = null
    }
    this.#pending = false
  }
}

class Redrawn {
  readonly #context: Context
  #drawn = 0

  constructor(context: Context) {
    this.#context = context
  }

  show(operation: OperationView): void {
    const { stdout, clock } = this.#context.io
    const width = Math.max(20, stdout.columns ?? 80) - 1
    const lines = operationLines(operation, clock.now()).map(text => text.slice(0, width))
    const up = this.#drawn > 0 ? `\u001b[${this.#drawn}A` : ''
    stdout.write(`${up}${lines.map(text => `\u001b[2K${text}\n`).join('')}\u001b[0J`)
    this.#drawn = lines.length
  }

  tick(operation: OperationView): void {
    if (operation.status === 'running') this.show(operation)
  }

  end(operation: OperationView): void {
    if (operation.status === 'completed') line(this.#context.io.stdout, endLine(operation))
  }
}

class Appended {
  readonly #context: Context
  #shown: OperationView | null = null

  constructor(context: Context) {
    this.#context = context
  }

  show(operation: OperationView): void {
    const { stdout, clock } = this.#context.io
    for (const text of changedLines(this.#shown, operation, clock.now())) line(stdout, text)
    this.#shown = operation
  }

  tick(): void {}

  end(operation: OperationView): void {
    if (operation.status === 'completed') line(this.#context.io.stdout, endLine(operation))
  }
}
