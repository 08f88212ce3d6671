/**
 * What is written at the end of this turn of the event loop, all together. A write wakes who waits for it; while that one works, the next
 * write needs to wake nobody. Spread over a turn, between the work on one request and the next, nearly every write does.
 *
 *   this turn's reads: request, answer, request, … ──► each leaves what it has to send ──► the check phase: all of it is sent
 *                                                           └── as many as `togetherMax`: sent now, so that the first has not long to wait
 *
 * Node runs `setImmediate` right behind the turn's reads (libuv, "check"), so where there is one request there is no wait.
 */
export interface Sender {
  /** Once for each time that it was put in line. */
  turnEnds(): void
}

const togetherMax = 32

let line: Sender[] = []
let awaited = false

export function atTurnEnd(sender: Sender): void {
  line.push(sender)
  if (line.length >= togetherMax) return send()
  if (awaited) return
  awaited = true
  setImmediate(turnEnds)
}

function turnEnds(): void {
  awaited = false
  send()
}

function send(): void {
  const senders = line
  line = []
  for (const sender of senders) sender.turnEnds()
}
