/**
 * Durations, sizes and addresses as people write them: `250ms` `30s` `5m`, `512MiB`, `127.0.0.1:8080` `[::1]:8080`. @pure
 * A number without a unit is refused, never guessed.
 */
export type Unit<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly message: string; readonly fix: string }

const durationUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}
const sizeUnits: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
}
const decimalUnits: Readonly<Record<string, string>> = {
  K: 'KiB',
  KB: 'KiB',
  M: 'MiB',
  MB: 'MiB',
  G: 'GiB',
  GB: 'GiB',
  T: 'TiB',
  TB: 'TiB',
}
const quantity = /^(\d{1,15}(?:\.\d{1,6})?)\s*([A-Za-z]*)$/

/** Milliseconds of `250ms`, `30s`, `5m`, `1h`, `7d`. */
export function parseDuration(value: unknown): Unit<number> {
  const parts = split(value)
  if (!parts)
    return no(`\`${text(value)}\` is not a duration`, 'write a number and a unit: `250ms`, `30s`, `5m`, `1h`')
  if (parts.unit === '') return no(`\`${parts.number}\` has no unit`, `write \`${parts.number}s\``)
  const factor = durationUnits[parts.unit]
  if (factor === undefined) {
    const lower = parts.unit.toLowerCase()
    const guess = lower in durationUnits ? lower : (lower.match(/^(ms|s|m|h|d)/)?.[1] ?? 's')
    return no(
      `\`${parts.unit}\` is not a unit of time`,
      `write \`${parts.number}${guess}\` (units: ms s m h d)`,
    )
  }
  return { ok: true, value: Math.round(Number(parts.number) * factor) }
}

/** Bytes of `512MiB`, `8GiB`. Units are binary; `MB` is refused because it is read both ways. */
export function parseSize(value: unknown): Unit<number> {
  const parts = split(value)
  if (!parts) return no(`\`${text(value)}\` is not a size`, 'write a number and a unit: `512MiB`, `8GiB`')
  if (parts.unit === '') return no(`\`${parts.number}\` has no unit`, `write \`${parts.number}MiB\``)
  const factor = sizeUnits[parts.unit]
  if (factor === undefined) {
    const guess = decimalUnits[parts.unit.toUpperCase()] ?? nameOfSize(parts.unit) ?? 'MiB'
    return no(
      `\`${parts.unit}\` is not a unit of size`,
      `write \`${parts.number}${guess}\` (units: B KiB MiB GiB TiB)`,
    )
  }
  const bytes = Math.round(Number(parts.number) * factor)
  if (!Number.isSafeInteger(bytes)) return no(`\`${text(value)}\` is too large`, 'write a smaller size')
  return { ok: true, value: bytes }
}

export interface Address {
  readonly host: string
  readonly port: number
}

/** `host:port` or `[IPv6]:port`. The host comes back in lower case and without brackets. */
export function parseAddress(value: unknown, portMin = 0): Unit<Address> {
  if (typeof value !== 'string') {
    const fix =
      typeof value === 'number' ? `write "127.0.0.1:${value}"` : 'write "host:port", as "127.0.0.1:8080"'
    return no(`\`${text(value)}\` is not an address`, fix)
  }
  const bracketed = /^\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]:(\d{1,5})$/.exec(value)
  const plain = /^([A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?):(\d{1,5})$/.exec(value)
  const match = bracketed ?? plain
  if (!match) return no(`\`${text(value)}\` is not an address`, addressFix(value))
  const [, host = '', port = ''] = match
  if (bracketed && !isIpv6(host)) return no(`\`${host}\` is not an IPv6 address`, 'as "[::1]:8080"')
  if (!bracketed && /^[\d.]+$/.test(host) && !isIpv4(host))
    return no(`\`${host}\` is not an IPv4 address`, 'four numbers from 0 to 255, as "127.0.0.1:8080"')
  if (Number(port) > 65_535 || Number(port) < portMin)
    return no(`port ${port} does not exist`, `a port is ${portMin} to 65535`)
  return { ok: true, value: { host: host.toLowerCase(), port: Number(port) } }
}

/** `host:port`, with brackets where they are needed. */
export const formatAddress = (host: string, port: number): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`

const wildcards = new Set(['0.0.0.0', '::'])

/** They cannot both be listened on without sharing the port. */
export const overlap = (a: Address, b: Address): boolean =>
  a.port === b.port && (a.host === b.host || wildcards.has(a.host) || wildcards.has(b.host))

/** Reached from this machine only. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' ||
  host === '::1' ||
  host === '::ffff:127.0.0.1' ||
  (host.startsWith('127.') && isIpv4(host))

export const isIpv4 = (text: string): boolean =>
  /^\d{1,3}(\.\d{1,3}){3}$/.test(text) &&
  text.split('.').every(part => Number(part) <= 255 && !/^0\d/.test(part))

export function isIpv6(text: string): boolean {
  const address = text.split('%')[0] ?? ''
  // `URL` has a full IPv6 parser (WHATWG URL §3.5) and does no I/O.
  return /^[0-9A-Fa-f:.]+$/.test(address) && address.includes(':') && URL.canParse(`http://[${address}]/`)
}

function addressFix(value: string): string {
  if (/^:\d+$/.test(value)) return `write "0.0.0.0${value}" for all addresses, or "127.0.0.1${value}"`
  if (/^\d+$/.test(value)) return `write "127.0.0.1:${value}"`
  if (/^[a-z]+:\/\//i.test(value)) return 'write host and port only, without `http://` and without a path'
  if (isIpv6(value)) return `an IPv6 address goes in brackets: "[${value}]:8080"`
  if (/^[A-Za-z0-9._-]+$/.test(value)) return `add the port: "${value}:8080"`
  return 'write "host:port", as "127.0.0.1:8080" or "[::1]:8080"'
}

function split(value: unknown): { number: string; unit: string } | null {
  if (typeof value !== 'string' && typeof value !== 'number') return null
  const match = quantity.exec(String(value).trim())
  return match ? { number: match[1] ?? '', unit: match[2] ?? '' } : null
}

const nameOfSize = (unit: string): string | undefined =>
  Object.keys(sizeUnits).find(known => known.toLowerCase() === unit.toLowerCase())

const no = (message: string, fix: string): Unit<never> => ({ ok: false, message, fix })

function text(value: unknown): string {
  if (value === null || value === undefined) return 'nothing'
  if (typeof value === 'object') return Array.isArray(value) ? 'a list' : 'a group of keys'
  const plain = String(value)
  return plain.length > 60 ? `${plain.slice(0, 57)}...` : plain
}
