/** PROXY headers of version 2, as a balancer in front of us writes them; also wrong ones. */
import { isIPv6 } from 'node:net'

export interface ProxyV2Options {
  /** Version and command; 0x21: version 2, PROXY. */
  readonly command?: number
  readonly family?: number
  readonly extensions?: Buffer
  /** Adds a CRC32c extension at the end. */
  readonly checksum?: boolean
}

export function proxyV2(
  { from, to }: { from: string; to: string },
  fromPort: number,
  toPort: number,
  { command = 0x21, family, extensions = Buffer.alloc(0), checksum = false }: ProxyV2Options = {},
): Buffer {
  const sum = checksum ? tlv(0x03, '\0\0\0\0') : Buffer.alloc(0)
  const ports = Buffer.alloc(4)
  ports.writeUInt16BE(fromPort)
  ports.writeUInt16BE(toPort, 2)
  const body = Buffer.concat([addressBytes(from), addressBytes(to), ports, extensions, sum])
  const head = Buffer.alloc(16)
  head.write('\r\n\r\n\0\r\nQUIT\n', 'latin1')
  head[12] = command
  head[13] = family ?? (isIPv6(from) ? 0x21 : 0x11)
  head.writeUInt16BE(body.length, 14)
  const whole = Buffer.concat([head, body])
  if (checksum) whole.writeUInt32BE(crc32c(whole), whole.length - 4)
  return whole
}

export function tlv(type: number, value: string): Buffer {
  const head = Buffer.from([type, value.length >> 8, value.length & 0xff])
  return Buffer.concat([head, Buffer.from(value, 'latin1')])
}

function addressBytes(address: string): Buffer {
  if (!isIPv6(address)) return Buffer.from(address.split('.').map(Number))
  const bare = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_all, a, b, c, d) =>
    [a * 256 + Number(b), c * 256 + Number(d)].map(group => group.toString(16)).join(':'),
  )
  const [head = '', tail = ''] = bare.split('::')
  const first = head === '' ? [] : head.split(':')
  const last = tail === '' ? [] : tail.split(':')
  const groups = [...first, ...Array<string>(8 - first.length - last.length).fill('0'), ...last]
  return Buffer.from(
    groups.flatMap(group => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]),
  )
}

function crc32c(bytes: Buffer): number {
  let crc = ~0
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  }
  return ~crc >>> 0
}
