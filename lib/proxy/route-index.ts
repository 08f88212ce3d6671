/**
 * Host and path → whatever is routed to. @pure
 *
 * An exact host comes before `*`; within a host the longest path prefix of whole segments wins; a host without a matching
 * path falls back to `*`. Of two equal routes the first one counts. Paths are compared byte for byte, as they came.
 */
import type { RouteConfig } from '../config/config.ts'

interface Paths<T> {
  /** By prefix without a slash at its end; the root is the empty one. */
  readonly byPrefix: Map<string, T>
  /** The different lengths of the prefixes, longest first: what has to be tried, however long the path. */
  lengths: readonly number[]
}

export class RouteIndex<T> {
  readonly #hosts = new Map<string, Paths<T>>()
  /** A memo: most requests name the same host as the one before. */
  #last: { readonly host: string; readonly own: Paths<T> | undefined } = { host: '', own: undefined }

  constructor(routes: readonly (RouteConfig & { readonly value: T })[]) {
    for (const { host, path, value } of routes) {
      const name = normalHost(host)
      const paths = this.#hosts.get(name) ?? { byPrefix: new Map<string, T>(), lengths: [] }
      const prefix = path.replace(/\/+$/, '')
      if (!paths.byPrefix.has(prefix)) paths.byPrefix.set(prefix, value)
      this.#hosts.set(name, paths)
    }
    for (const paths of this.#hosts.values())
      paths.lengths = [...new Set([...paths.byPrefix.keys()].map(prefix => prefix.length))].sort(
        (a, b) => b - a,
      )
    this.#last = { host: '', own: this.#hosts.get('') }
  }

  match(host: string, path: string): T | null {
    const question = path.indexOf('?')
    const length = question < 0 ? path.length : question
    const own = this.#own(host)
    const found = own && longest(own, path, length)
    if (found !== undefined) return found
    const any = this.#hosts.get('*')
    return (any === undefined || any === own ? undefined : longest(any, path, length)) ?? null
  }

  #own(host: string): Paths<T> | undefined {
    if (host !== this.#last.host)
      this.#last = { host, own: this.#hosts.get(host) ?? this.#hosts.get(normalHost(host)) }
    return this.#last.own
  }
}

function longest<T>(paths: Paths<T>, path: string, pathLength: number): T | undefined {
  for (const length of paths.lengths) {
    if (length > pathLength) continue
    if (length < pathLength && length > 0 && path[length] !== '/') continue
    const found = paths.byPrefix.get(length === 0 ? '' : path.slice(0, length))
    if (found !== undefined) return found
  }
  return undefined
}

/** Lower case, without port, trailing dot and the brackets of an IPv6 literal (RFC 3986 §3.2.2). */
export function normalHost(host: string): string {
  const text = host.trim().toLowerCase()
  if (text.startsWith('[')) {
    const close = text.indexOf(']')
    return close < 0 ? text : text.slice(1, close)
  }
  const colon = text.indexOf(':')
  const name = colon >= 0 && colon === text.lastIndexOf(':') ? text.slice(0, colon) : text
  return name.endsWith('.') ? name.slice(0, -1) : name
}
