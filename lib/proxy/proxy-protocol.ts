/**
 * Reads the header that a load balancer in front of us puts before a connection's own bytes, to say who connected to it: the PROXY
 * protocol, versions 1 (a line of text) and 2 (binary). @pure
 *
 * Strict: whatever is not exactly such a header is a fault, and a fault closes the connection. It believes nobody: who may send one
 * is the listener's to know.
 */
import { isIPv4, isIPv6, SocketAddress } from 'node:net'

export interface ProxyAddress {
  /** Without brackets; IPv6 in its shortest form. */
  readonly address: string
  readonly port: number
}

export type ProxyHeader =
  /** Not complete: at least so many more bytes must come. */
  | { readonly need: number }
  /** For the log: what was wrong. */
  | { readonly fault: string }
  | {
      /** Where the connection's own bytes begin. */
      readonly length: number
      /** Null: the connection stands for itself (a check of the balancer's own), or came over no IP network. */
      readonly source: ProxyAddress | null
      readonly destination: ProxyAddress | null
    }

/** Addresses and extensions of version 2 together. The largest known in use is a client certificate's name, below 1 KiB. */
export const headerBytesMax = 4096
/** `PROXY UNKNOWN`, two IPv6 addresses, two ports, CR LF. */
const lineBytesMax = 107

export function readProxyHeader(bytes: Buffer): ProxyHeader {
  if (bytes.length === 0) return { need: 1 }
  if (bytes[0] === signature[0]) return readBinary(bytes)
  return readLine(bytes)
}

// Version 1.

const linePrefix = Buffer.from('PROXY ')
const shortestLineBytes = 'PROXY UNKNOWN\r\n'.length

function readLine(bytes: Buffer): ProxyHeader {
  const seen = Math.min(bytes.length, linePrefix.length)
  if (bytes.compare(linePrefix, 0, seen, 0, seen) !== 0) return fault('no PROXY header')
  const end = bytes.subarray(0, lineBytesMax).indexOf('\r\n')
  if (end === -1) {
    if (bytes.length >= lineBytesMax) return fault('a PROXY line longer than 107 bytes')
    return { need: Math.max(1, shortestLineBytes - bytes.length) }
  }
  const line = bytes.toString('latin1', 0, end)
  // Neither may stand alone: another parser could take it for the end of the line.
  if (/[\r\n]/.test(line)) return fault('a CR or LF inside the PROXY line')
  const addresses = lineAddresses(line)
  return 'fault' in addresses ? addresses : { length: end + 2, ...addresses }
}

/** What follows UNKNOWN in its line is not looked at. */
function lineAddresses(line: string): Addresses | { readonly fault: string } {
  if (line === 'PROXY UNKNOWN' || line.startsWith('PROXY UNKNOWN ')) return none
  const fields = line.split(' ')
  const [, family, from = '', to = '', fromPort = '', toPort = ''] = fields
  if (family !== 'TCP4' && family !== 'TCP6') return fault('a PROXY line of an unknown family')
  if (fields.length !== 6) return fault('a PROXY line without its four fields')
  const isAddress = family === 'TCP4' ? isIPv4 : isPlainIpv6
  if (!isAddress(from) || !isAddress(to)) return fault('a PROXY line with a malformed address')
  if (!isPort(fromPort) || !isPort(toPort)) return fault('a PROXY line with a malformed port')
  return {
    source: place(from, Number(fromPort)),
    destination: place(to, Number(toPort)),
  }
}

/** Without a zone: an interface of another machine means nothing here. */
const isPlainIpv6 = (text: string) => isIPv6(text) && !text.includes('%')

const isPort = (text: string) => /^(?:0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535

// Version 2.

const signature = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a])
const fixedBytes = 16
const commands = { local: 0x20, proxy: 0x21 }
/** Bytes of both addresses and ports, by the byte that names family and protocol. */
const addressBytes: ReadonlyMap<number, number> = new Map([
  [0x00, 0],
  [0x11, 12],
  [0x12, 12],
  [0x21, 36],
  [0x22, 36],
  [0x31, 216],
  [0x32, 216],
])

function readBinary(bytes: Buffer): ProxyHeader {
  const seen = Math.min(bytes.length, signature.length)
  if (bytes.compare(signature, 0, seen, 0, seen) !== 0) return fault('no PROXY header')
  // Each byte is refused as soon as it is wrong: a stranger is not waited for.
  const command = bytes[12]
  if (command !== undefined && command !== commands.local && command !== commands.proxy)
    return fault('a PROXY header of another version or command')
  const family = bytes[13]
  const local = command === commands.local
  if (family !== undefined && !local && !addressBytes.has(family))
    return fault('a PROXY header of an unknown family')
  if (bytes.length < fixedBytes) return { need: fixedBytes - bytes.length }
  const length = fixedBytes + bytes.readUInt16BE(14)
  if (length > headerBytesMax) return fault(`a PROXY header longer than ${headerBytesMax} bytes`)
  const before = local ? 0 : addressBytes.get(family!)!
  if (length < fixedBytes + before) return fault('a PROXY header shorter than its addresses')
  if (bytes.length < length) return { need: length - bytes.length }
  const header = bytes.subarray(0, length)
  // What a LOCAL header holds beside its length is to be thrown away unread.
  const wrong = local || family === 0x00 ? null : extensionFault(header, fixedBytes + before)
  return wrong ?? { length, ...binaryAddresses(header, local ? 0 : family!) }
}

function binaryAddresses(header: Buffer, family: number): Addresses {
  if (family === 0x11) {
    const at = (from: number) => [...header.subarray(from, from + 4)].join('.')
    return {
      source: { address: at(16), port: header.readUInt16BE(24) },
      destination: { address: at(20), port: header.readUInt16BE(26) },
    }
  }
  if (family === 0x21) {
    const at = (from: number) =>
      Array.from({ length: 8 }, (_, i) => header.readUInt16BE(from + 2 * i).toString(16)).join(':')
    return {
      source: place(at(16), header.readUInt16BE(48)),
      destination: place(at(32), header.readUInt16BE(50)),
    }
  }
  // Unix sockets and datagrams: the connection we have is the only one that can be named.
  return none
}

const crcType = 0x03

/** Extensions are walked, so that a malformed one is noticed, and skipped; only a checksum is read. */
function extensionFault(header: Buffer, from: number): { readonly fault: string } | null {
  let at = from
  while (at < header.length) {
    if (at + 3 > header.length) return fault('a PROXY extension cut short')
    const length = header.readUInt16BE(at + 1)
    const value = at + 3
    if (value + length > header.length) return fault('a PROXY extension longer than its header')
    if (header[at] === crcType) {
      if (length !== 4) return fault('a PROXY checksum that is not four bytes')
      if (header.readUInt32BE(value) !== checksum(header, value)) return fault('a wrong PROXY checksum')
    }
    at = value + length
  }
  return null
}

/** CRC32c of the header with its checksum at `field` taken for zeros. */
function checksum(header: Buffer, field: number): number {
  let crc = 0xffffffff
  for (let i = 0; i < header.length; i++) {
    const byte = i >= field && i < field + 4 ? 0 : header[i]!
    crc = crcTable[(crc ^ byte) & 0xff]! ^ (crc >>> 8)
  }
  return (crc ^ 0xffffffff) >>> 0
}

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1
  return value
})

// Both.

interface Addresses {
  readonly source: ProxyAddress | null
  readonly destination: ProxyAddress | null
}

const none: Addresses = { source: null, destination: null }

const fault = (what: string) => ({ fault: what })

/** One spelling for one address. */
function place(address: string, port: number): ProxyAddress {
  const family = address.includes(':') ? 'ipv6' : 'ipv4'
  return { address: new SocketAddress({ address, family }).address, port }
}
