/**
 * The two messages of `grpc.health.v1.Health/Check`, by hand: each has one field. @pure
 *
 * From grpc/health/v1/health.proto in github.com/grpc/grpc-proto: HealthCheckRequest { string service = 1 } and
 * HealthCheckResponse { ServingStatus status = 1 }; the five bytes before a message (compressed or not, length) from
 * "gRPC over HTTP2" in github.com/grpc/grpc. Fields that are not known are skipped, as protobuf demands.
 */
export const servingStatuses = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'] as const
export type ServingStatus = (typeof servingStatuses)[number]

const frameBytes = 5
const wire = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const
/** Field 1 with its wire type, as protobuf writes a key. */
const serviceKey = (1 << 3) | wire.bytes
const statusField = 1

/** The request with its frame. `service` is at most 256 characters of ASCII. */
export function encodeRequest(service: string): Buffer {
  const name = Buffer.from(service, 'latin1')
  const length = name.length < 128 ? [name.length] : [(name.length & 127) | 128, name.length >> 7]
  const message =
    name.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.from([serviceKey, ...length]), name])
  const frame = Buffer.alloc(frameBytes)
  frame.writeUInt32BE(message.length, 1)
  return Buffer.concat([frame, message])
}

/** The status in a framed response; null when these bytes are not one whole, uncompressed message of that kind. */
export function decodeResponse(bytes: Buffer): ServingStatus | null {
  if (bytes.length < frameBytes || bytes[0] !== 0) return null
  if (bytes.readUInt32BE(1) !== bytes.length - frameBytes) return null
  const reader = new Reader(bytes.subarray(frameBytes))
  // A field that is left out has its zero value.
  let status = 0
  while (!reader.ended) {
    const key = reader.varint()
    if (key === null) return null
    const value = reader.field(key & 7)
    if (value === null) return null
    if (key === ((statusField << 3) | wire.varint)) status = value
  }
  return servingStatuses[status] ?? null
}

/** Reads the wire format within its bounds; null: it is not that. */
class Reader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get ended(): boolean {
    return this.#at >= this.#bytes.length
  }

  /** The value of a varint field, 0 for a field of another type, which is passed over. */
  field(type: number): number | null {
    if (type === wire.varint) return this.varint()
    const length =
      type === wire.fixed64 ? 8 : type === wire.fixed32 ? 4 : type === wire.bytes ? this.varint() : null
    if (length === null || this.#at + length > this.#bytes.length) return null
    this.#at += length
    return 0
  }

  /** At most ten bytes, as 64 bits need; what is above 2^53 loses its last digits, and no status is that large. */
  varint(): number | null {
    let value = 0
    for (let i = 0; i < 10; i++) {
      const byte = this.#bytes[this.#at++]
      if (byte === undefined) return null
      value += (byte & 127) * 2 ** (7 * i)
      if (byte < 128) return value
    }
    return null
  }
}
