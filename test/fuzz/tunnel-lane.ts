/**
 * WebSocket frames both ways, in pieces, while the proxy closes the tunnel at any moment. What an end receives are the whole frames
 * that the other sent, in order, and then at most one Close: never a frame that begins inside of another.
 */
import { createServer, type Socket } from 'node:net'
import { closeServer, listenOn, openFrontDoor, rawClient, tunnelCount, until } from '../support/traffic.ts'
import { turn } from './mangle.ts'
import type { Random } from './random.ts'
import type { Lane } from './run.ts'

const handshake =
  'GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n'
const agreement = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n'
const closeOpcode = 8

/** A frame with every form of length, masked or not; never Close. */
function frameOf(random: Random, masked: boolean): Buffer {
  const opcode = random.pick([0, 1, 2, 9, 10])
  const length = random.pick([0, 1, 5, 125, 126, 300, 65_535, 65_536, random.below(2_000)])
  const payload = Buffer.alloc(opcode > 8 ? Math.min(length, 125) : length, random.below(256))
  const first = (random.chance(0.8) ? 0x80 : 0) | opcode
  const bit = masked ? 0x80 : 0
  const size = Buffer.alloc(payload.length < 126 ? 1 : payload.length < 65_536 ? 3 : 9)
  if (size.length === 1) size[0] = bit | payload.length
  else if (size.length === 3) {
    size[0] = bit | 126
    size.writeUInt16BE(payload.length, 1)
  } else {
    size[0] = bit | 127
    size.writeBigUInt64BE(BigInt(payload.length), 1)
  }
  return Buffer.concat([Buffer.of(first), size, masked ? Buffer.alloc(4, 7) : Buffer.alloc(0), payload])
}

/** Where the first Close of the stream begins, reading whole frames from the start; null: there is none. `rest`: bytes of no whole frame. */
function read(bytes: Buffer): { closeAt: number | null; rest: number } {
  let at = 0
  while (bytes.length - at >= 2) {
    const [first, second] = [bytes[at]!, bytes[at + 1]!]
    const short = second & 0x7f
    const head = 2 + (short === 126 ? 2 : short === 127 ? 8 : 0) + (second & 0x80 ? 4 : 0)
    if (bytes.length - at < head) break
    const length =
      short < 126 ? short : short === 126 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2))
    if (bytes.length - at < head + length) break
    if ((first & 0x0f) === closeOpcode) return { closeAt: at, rest: bytes.length - at - head - length }
    at += head + length
  }
  return { closeAt: null, rest: bytes.length - at }
}

/** Sends frames in pieces of any size until it is told to close, and keeps all that comes. */
class End {
  readonly sent: Buffer[] = []
  readonly #received: Buffer[] = []
  readonly #socket: Socket
  readonly #masked: boolean
  #over = false

  constructor(socket: Socket, masked: boolean) {
    this.#socket = socket
    this.#masked = masked
    socket.on('close', () => {
      this.#over = true
    })
  }

  take(bytes: Buffer): void {
    this.#received.push(bytes)
    if (read(this.received).closeAt !== null) this.#over = true
  }

  /** It was told to close, or its connection is. */
  get over(): boolean {
    return this.#over
  }

  end(): void {
    this.#socket.end()
  }

  get received(): Buffer {
    return Buffer.concat(this.#received)
  }

  async talk(random: Random): Promise<void> {
    for (let frames = random.below(12); frames > 0 && !this.#over; frames--) {
      const frame = frameOf(random, this.#masked)
      this.sent.push(frame)
      for (let rest = frame; rest.length > 0; ) {
        if (this.#socket.destroyed) return
        const length = Math.min(rest.length, 1 + random.below(random.pick([4, 40, 40_000])))
        this.#socket.write(rest.subarray(0, length))
        rest = rest.subarray(length)
        if (random.chance(0.3)) await turn()
      }
    }
    // The end of the handshake, or its beginning.
    const mask = this.#masked ? [0, 0, 0, 0] : []
    this.#socket.write(Buffer.from([0x88, (this.#masked ? 0x80 : 0) | 2, ...mask, 3, 0xe8]))
  }

  /** What is wrong with what it received of `other`. */
  faults(name: string, other: End): string[] {
    const received = this.received
    const { closeAt, rest } = read(received)
    const whole = received.subarray(0, closeAt ?? received.length - rest)
    const meant = Buffer.concat(other.sent)
    const faults: string[] = []
    if (!meant.subarray(0, whole.length).equals(whole))
      faults.push(`${name} received other frames than were sent`)
    if (closeAt !== null && rest > 0) faults.push(`${name} received ${rest} bytes behind Close`)
    if (closeAt === null) faults.push(`${name} was never told: ${received.length} bytes, ${rest} of no frame`)
    return faults
  }
}

export async function tunnelLane(_random: Random): Promise<Lane> {
  let opened: (end: End) => void = () => {}
  const server = createServer(socket => {
    socket.on('error', () => {})
    socket.once('data', () => {
      const end = new End(socket, false)
      socket.on('data', bytes => end.take(bytes))
      socket.write(agreement)
      opened(end)
    })
  })
  const door = await openFrontDoor({ backends: [await listenOn(server)] })
  return {
    step: async random => {
      const ready = new Promise<End>(resolve => {
        opened = resolve
      })
      const client = await rawClient(door.port, handshake)
      const far = await ready
      await client.expect('\r\n\r\n')
      const near = new End(client.socket, true)
      client.socket.on('data', bytes => near.take(bytes))
      const close = async () => {
        for (let turns = random.below(60); turns > 0; turns--) await turn()
        if (random.chance(0.8)) door.context.tunnels.closeMember(0, 1, 1001, 'fuzz')
      }
      await Promise.all([near.talk(random), far.talk(random), close()])
      // A server ends the connection when both have said Close (RFC 6455 §7.1.1).
      await until(() => far.over, 'the backend to be told')
      far.end()
      await until(() => door.context.tunnels.size === 0, 'the tunnel to be over')
      client.socket.end()
      await until(() => client.closed, 'the client to be gone')
      const wrong = [...near.faults('the client', far), ...far.faults('the backend', near)]
      if (tunnelCount(door) !== 0) wrong.push(`${tunnelCount(door)} tunnels on the board`)
      return wrong.map(what => ({ what, text: `${near.sent.length} and ${far.sent.length} frames` }))
    },
    close: async () => {
      await door.close()
      await closeServer(server)
    },
  }
}
