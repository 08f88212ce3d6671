/**
 * How one event loop tells another that a place may be free for it: a word of shared memory each, awaited without blocking.
 * It only makes things faster: who waits also looks by itself from time to time.
 */
import type { CircuitBoard } from './circuit-board.ts'

export interface Bell {
  /** From now on `rung` is called when another loop rings. Harmless to repeat. */
  listen(rung: () => void): void
  ring(thread: number): void
  close(): void
}

/** `thread`: this loop's own. */
export function openBell(board: CircuitBoard, thread: number): Bell {
  const { words } = board
  let listening = false
  let closed = false
  const ring = (other: number) => {
    Atomics.add(words, other, 1)
    Atomics.notify(words, other)
  }
  const wait = (rung: () => void): void => {
    // Rung between two waits: the word has moved, and the wait is over before it began.
    const wake = () => {
      if (closed) return
      const heard = Atomics.load(words, thread)
      rung()
      next(heard)
    }
    const next = (heard: number) => {
      const waited = Atomics.waitAsync(words, thread, heard)
      if (waited.async) void waited.value.then(wake)
      else queueMicrotask(wake)
    }
    next(Atomics.load(words, thread))
  }
  return {
    listen: rung => {
      // A loop alone has nobody to hear.
      if (listening || board.threads === 1) return
      listening = true
      wait(rung)
    },
    ring,
    close: () => {
      closed = true
      // The wait that is under way would outlive its listener.
      if (listening) ring(thread)
    },
  }
}
