/** HTTP/2 by hand (RFC 9113 §4.1), for what no well-made client would send. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { until } from './traffic.ts'

export const frameTypes = {
  data: 0,
  headers: 1,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const

export const endStream = 1
export const endHeaders = 4

export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

/** `GET http://x/` in the shortest HPACK: three fields of the static table and a literal authority. */
export const getHeaders = Buffer.from([0x82, 0x86, 0x84, 0x41, 1, 0x78])
/** `POST` likewise. */
export const postHeaders = Buffer.from([0x83, 0x86, 0x84, 0x41, 1, 0x78])

export interface RawFrame {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly payload: Buffer
}

export interface RawH2Client {
  readonly socket: Socket
  readonly frames: readonly RawFrame[]
  readonly closed: boolean
  send(...frames: readonly Buffer[]): void
  /** The error code of the GOAWAY that came last before the end. */
  waitSentAway(): Promise<number | null>
}

/** A connection on which preface and settings are sent. */
export async function rawH2Client(port: number): Promise<RawH2Client> {
  const socket = connect(port, '127.0.0.1')
  const frames: RawFrame[] = []
  let [closed, rest] = [false, Buffer.alloc(0)]
  socket.on('error', () => {})
  socket.on('close', () => {
    closed = true
  })
  socket.on('data', bytes => {
    rest = Buffer.concat([rest, bytes])
    while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
      const length = rest.readUIntBE(0, 3)
      const payload = rest.subarray(9, 9 + length)
      frames.push({ type: rest[3]!, flags: rest[4]!, stream: rest.readUInt32BE(5), payload })
      rest = rest.subarray(9 + length)
    }
  })
  await once(socket, 'connect')
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
  socket.write(frame(frameTypes.settings, 0, 0))
  return {
    socket,
    frames,
    get closed() {
      return closed
    },
    send: (...more) => void socket.write(Buffer.concat(more)),
    waitSentAway: async () => {
      await until(
        () => closed,
        () => `the connection to end after ${frames.length} frames`,
      )
      return frames.findLast(({ type }) => type === frameTypes.goaway)?.payload.readUInt32BE(4) ?? null
    },
  }
}
