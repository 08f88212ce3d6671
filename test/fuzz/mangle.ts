/** Bytes that were right once: changed, doubled, left out, cut, or something else altogether. */
import type { Socket } from 'node:net'
import type { Random } from './random.ts'

export function noise(random: Random, most: number): Buffer {
  return Buffer.from(Array.from({ length: random.below(most + 1) }, () => random.below(256)))
}

export function mangled(random: Random, bytes: Buffer): Buffer {
  let text = bytes
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    const at = random.below(text.length + 1)
    const [before, after] = [text.subarray(0, at), text.subarray(at)]
    const kind = random.below(5)
    if (kind === 0) text = Buffer.concat([before, Buffer.of(random.below(256)), after.subarray(1)])
    else if (kind === 1) text = Buffer.concat([before, noise(random, 40), after])
    else if (kind === 2) text = Buffer.concat([before, after.subarray(1 + random.below(20))])
    else if (kind === 3) text = before
    else text = Buffer.concat([before, after, text])
  }
  return text.subarray(0, 4_096)
}

/** In pieces, each in a turn of its own. */
export async function sendInPieces(random: Random, socket: Socket, bytes: Buffer): Promise<void> {
  let rest = bytes
  while (rest.length > 0 && !socket.destroyed) {
    const length = random.chance(0.3) ? rest.length : 1 + random.below(rest.length)
    socket.write(rest.subarray(0, length))
    rest = rest.subarray(length)
    await turn()
  }
}

/** All of it, and then an end of any kind. `endlessBytes`: the last bytes again and again, up to so many; they are to be far above any bound. */
export async function sayAndEnd(
  random: Random,
  socket: Socket,
  bytes: Buffer,
  endlessBytes: number,
): Promise<void> {
  await sendInPieces(random, socket, bytes)
  const more = Buffer.alloc(65_536, bytes.length > 0 ? bytes.subarray(-16) : 'x')
  for (let sent = 0; sent < endlessBytes && !socket.destroyed; sent += more.length) {
    socket.write(more)
    await turn()
  }
  const end = random.below(3)
  if (end === 0) socket.end()
  else if (end === 1) socket.destroy()
}

export const turn = () => new Promise<void>(resolve => setImmediate(resolve))
