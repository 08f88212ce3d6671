/**
 * The rate limit of one cluster on one event loop (`rate_limit`): which client a request belongs to, and what it is told when it asks for
 * too much. The counting is in `rate-table`, shared by all threads.
 */
import type { RateLimitConfig } from '../../config/config.ts'
import { clientKey } from '../client-key.ts'
import { KeyedHash } from './keyed-hash.ts'
import { type RateBuffer, RateTable } from './rate-table.ts'

/** IPv6 addresses whose network is remembered, a power of two: finding it costs ten times what the rest does. */
const remembered = 256

export class RateLimit {
  readonly config: RateLimitConfig
  readonly buffer: RateBuffer
  readonly #table: RateTable
  readonly #addresses: KeyedHash
  /** Of its own: a header's value is no address of the same text. */
  readonly #names: KeyedHash
  readonly #intervalUs: number
  readonly #toleranceUs: number
  readonly #ips: string[] = Array(remembered).fill('')
  readonly #networks: string[] = Array(remembered).fill('')

  constructor(config: RateLimitConfig, buffer: RateBuffer) {
    this.config = config
    this.buffer = buffer
    this.#table = new RateTable(buffer)
    this.#addresses = new KeyedHash(buffer.key.subarray(0, 8))
    this.#names = new KeyedHash(buffer.key.subarray(8, 16))
    this.#intervalUs = Math.max(1, Math.round(1_000_000 / config.requestsPerSecond))
    this.#toleranceUs = (config.burst - 1) * this.#intervalUs
  }

  /**
   * 0: granted, and counted. Else the milliseconds after which it would be. `name`: the value of the header that `config.header`
   * says, if the request has it. One that leaves it out is counted by its address, or leaving it out would be the way around.
   */
  take(clientIp: string, name: string | undefined, nowMs: number): number {
    const hash = name ? this.#names : this.#addresses
    hash.of(name || this.#client(clientIp))
    const waitUs = this.#table.take(hash.low, hash.high, nowMs, this.#intervalUs, this.#toleranceUs)
    return Math.ceil(waitUs / 1000)
  }

  #client(ip: string): string {
    if (!ip.includes(':')) return ip
    let at = 0
    for (let i = 0; i < ip.length; i++) at = (at * 31 + ip.charCodeAt(i)) & (remembered - 1)
    if (this.#ips[at] !== ip) {
      this.#ips[at] = ip
      this.#networks[at] = clientKey(ip)
    }
    return this.#networks[at]!
  }

  /** The fields of a 429 (draft-ietf-httpapi-ratelimit-headers): what is granted, and when to come back. */
  fields(waitMs: number): readonly (readonly [string, string])[] {
    const { burst, requestsPerSecond } = this.config
    const seconds = String(Math.max(1, Math.ceil(waitMs / 1000)))
    const window = Math.max(1, Math.ceil(burst / requestsPerSecond))
    return [
      ['Retry-After', seconds],
      ['RateLimit-Policy', `"client";q=${burst};w=${window}`],
      ['RateLimit', `"client";r=0;t=${seconds}`],
    ]
  }
}
