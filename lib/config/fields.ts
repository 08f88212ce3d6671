/** The small parts the schema is made of: durations, sizes, addresses, ids, host names, choices. @pure Knows no keys. */
import { choiceSentence, refuse, show, z } from '../schema.ts'
import { isIpv4, isIpv6, parseAddress, parseDuration, parseSize, type Unit } from '../units.ts'

/** A field read by a function that gives the value, or what is wrong and the fix. */
export function read<T>(parse: (value: unknown) => Unit<T>) {
  return z.unknown().transform((value, ctx): T => {
    if (value === undefined) return refuse(ctx, 'missing', 'add it')
    const result = parse(value)
    return result.ok ? result.value : refuse(ctx, result.message, result.fix)
  })
}

/** Milliseconds; the file says `30s`. */
export const duration = (minMs: number, maxMs: number) =>
  read(value => bounded(parseDuration(value), value, minMs, maxMs, formatMs))

/** Bytes; the file says `512MiB`. */
export const size = (minBytes: number, maxBytes: number) =>
  read(value => bounded(parseSize(value), value, minBytes, maxBytes, formatBytes))

/** A bare `0` is none, whatever the unit would be. */
export const sizeOrNone = (maxBytes: number) =>
  z.preprocess(value => (value === 0 ? '0B' : value), size(0, maxBytes))

export const address = (portMin: number) => read(value => parseAddress(value, portMin))

/** One word of a set. `later` are the words that are promised and not built yet. */
export function choice<T extends string>(allowed: readonly T[], later: readonly string[] = []) {
  return read((value): Unit<T> => {
    const known = allowed.find(word => word === value)
    if (known !== undefined) return { ok: true, value: known }
    if (typeof value === 'string' && later.includes(value))
      return {
        ok: false,
        message: `\`${value}\` is not supported yet in this version`,
        fix: `one of ${allowed.join(', ')}`,
      }
    return { ok: false, ...choiceSentence(value, allowed, 'value') }
  })
}

/** `auto` or a whole number; what `auto` comes to is the caller's to say. */
export const autoOr = (auto: () => number, min: number, max: number) =>
  read((value): Unit<number> => {
    if (value === 'auto') return { ok: true, value: auto() }
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max)
      return { ok: true, value }
    return {
      ok: false,
      message: `${show(value)} is not a count`,
      fix: `\`auto\`, or a whole number from ${min} to ${max}`,
    }
  })

/** A whole number whose key already names the unit (`ttl_seconds`). */
export const whole = (min: number, max: number, key: string) =>
  read((value): Unit<number> => {
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max)
      return { ok: true, value }
    const seconds = key.endsWith('_seconds') && typeof value === 'string' ? parseDuration(value) : null
    if (seconds?.ok)
      return {
        ok: false,
        message: `${show(value)} is not a number`,
        fix: `write \`${Math.round(seconds.value / 1000)}\`: the unit is in the key's name`,
      }
    if (typeof value === 'number')
      return {
        ok: false,
        message: `\`${value}\` is out of bounds`,
        fix: `a whole number from ${min} to ${max}`,
      }
    return {
      ok: false,
      message: `${show(value)} is not a number`,
      fix: `a whole number from ${min} to ${max}`,
    }
  })

export const ratio = (min: number, max: number) =>
  read((value): Unit<number> => {
    if (typeof value === 'number' && value >= min && value <= max) return { ok: true, value }
    return { ok: false, message: `${show(value)} is out of bounds`, fix: `a number from ${min} to ${max}` }
  })

/** Cluster and node ids: they become parts of host names and file names. */
export const dnsId = (maxLength: number) =>
  read(value =>
    matching(
      value,
      new RegExp(`^[a-z0-9](?:[a-z0-9-]{0,${maxLength - 2}}[a-z0-9])?$`),
      `lower-case letters, digits and \`-\`, at most ${maxLength}, as "web-1"`,
    ),
  )

export const backendId = () =>
  read(value =>
    matching(
      value,
      /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
      'letters, digits, `.`, `_` and `-`, at most 63, as "a1"',
    ),
  )

/** A host name as routes compare it: lower case, no port. */
export const routeHost = () =>
  read((value): Unit<string> => {
    if (value === '*') return { ok: true, value }
    const name = typeof value === 'string' ? value.toLowerCase().replace(/\.$/, '') : ''
    const bare = name.replace(/^\[(.*)\]$/, '$1')
    if (isIpv6(bare)) return { ok: true, value: name.startsWith('[') ? name : `[${bare}]` }
    if (/^(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/.test(name) && name.length <= 253)
      return { ok: true, value: name }
    if (name.startsWith('*.'))
      return {
        ok: false,
        message: `${show(value)}: hosts with a wildcard are not supported`,
        fix: 'name each host, or write "*" for any',
      }
    const fix = /:\d+$/.test(name)
      ? `without the port: "${name.replace(/:\d+$/, '')}"`
      : 'as "shop.example.com", or "*" for any'
    return { ok: false, message: `${show(value)} is not a host name`, fix }
  })

/** A path prefix of whole segments; a trailing slash means the same and is dropped. */
export const routePath = () =>
  read((value): Unit<string> => {
    if (typeof value !== 'string' || !value.startsWith('/')) {
      const fix = typeof value === 'string' && value !== '' ? `write "/${value}"` : 'write "/" or "/api"'
      return { ok: false, message: `${show(value)} is not a path`, fix }
    }
    if (!/^[!-~]{1,1024}$/.test(value) || /[?#*\\]/.test(value) || /\/\/|\/\.\.?(\/|$)/.test(value))
      return {
        ok: false,
        message: `${show(value)} is not a path prefix`,
        fix: 'plain segments as "/api/v1": no spaces, `?`, `#`, `*`, `//`, `.` or `..`',
      }
    return { ok: true, value: value === '/' ? value : value.replace(/\/$/, '') }
  })

/** The path and query a health check asks for. */
export const requestPath = () =>
  read(value => matching(value, /^\/(?!\/)[!-"$-~]{0,1023}$/, 'a path that starts with `/`, as "/healthz"'))

/** What a check puts into `Host` or `:authority`: a name or an address, with a port or without. */
export const authority = () =>
  read(value =>
    matching(
      value,
      /^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?$/,
      'as "shop.example.com" or "shop.example.com:8080"',
    ),
  )

/** The full name of a gRPC service; empty: the server as a whole. */
export const grpcService = () =>
  read(value =>
    matching(value, /^[A-Za-z0-9_./-]{0,256}$/, 'a full service name, as "shop.v1.Orders", or leave it out'),
  )

/** An IP network in CIDR form; a single address stands for itself. */
export const network = () =>
  read((value): Unit<string> => {
    const [base = '', bits, ...rest] = typeof value === 'string' ? value.split('/') : []
    const bitsMax = isIpv4(base) ? 32 : isIpv6(base) ? 128 : null
    const wellFormed = rest.length === 0 && (bits === undefined || /^(0|[1-9]\d{0,2})$/.test(bits))
    if (bitsMax === null || !wellFormed || Number(bits ?? 0) > bitsMax)
      return {
        ok: false,
        message: `${show(value)} is not a network`,
        fix: 'CIDR form, as "10.0.0.0/8" or "::1/128"',
      }
    return { ok: true, value: `${base}/${bits ?? bitsMax}` }
  })

export const cookieName = () =>
  read(value =>
    matching(value, /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/, 'a cookie name (RFC 6265 §4.1.1), as "tidegate"'),
  )

/** A file name; made absolute against the config file's directory by the caller. */
export const filePath = () => read(value => matching(value, /^[^\0]{1,1024}$/, 'a path, as "./state"'))

function matching(value: unknown, pattern: RegExp, fix: string): Unit<string> {
  if (typeof value === 'string' && pattern.test(value)) return { ok: true, value }
  return { ok: false, message: `${show(value)} cannot be used here`, fix }
}

function bounded(
  unit: Unit<number>,
  value: unknown,
  min: number,
  max: number,
  format: (n: number) => string,
): Unit<number> {
  if (!unit.ok || (unit.value >= min && unit.value <= max)) return unit
  return {
    ok: false,
    message: `${show(value)} is too ${unit.value < min ? 'short or small' : 'long or large'}`,
    fix: `from ${format(min)} to ${format(max)}`,
  }
}

const formatMs = (ms: number): string =>
  ms % 3_600_000 === 0 && ms > 0 ? `${ms / 3_600_000}h` : ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`

const formatBytes = (bytes: number): string => {
  for (const [unit, factor] of [
    ['TiB', 1024 ** 4],
    ['GiB', 1024 ** 3],
    ['MiB', 1024 ** 2],
  ] as const)
    if (bytes >= factor) return `${bytes / factor}${unit}`
  return `${bytes}B`
}
