/** Which peers' forwarding headers are believed: a list of addresses and CIDR blocks, of both families. Nobody by default. */
import { BlockList, isIP } from 'node:net'

export class TrustedProxies {
  readonly #list: BlockList | null

  constructor(list: BlockList | null) {
    this.#list = list
  }

  /** `address` without brackets or port. An IPv4 address inside IPv6 (`::ffff:…`) is looked up as IPv4. */
  has(address: string): boolean {
    if (this.#list === null) return false
    const plain = plainAddress(address)
    const family = isIP(plain)
    return family !== 0 && this.#list.check(plain, family === 6 ? 'ipv6' : 'ipv4')
  }
}

/** From `10.0.0.0/8`, `2001:db8::/32` or a single address. Throws a `TypeError` that names the faulty entry. */
export function parseTrustedProxies(entries: readonly string[]): TrustedProxies {
  if (entries.length === 0) return new TrustedProxies(null)
  const list = new BlockList()
  for (const entry of entries) {
    const slash = entry.indexOf('/')
    const address = plainAddress(slash === -1 ? entry : entry.slice(0, slash))
    const family = isIP(address)
    const bits = slash === -1 ? '' : entry.slice(slash + 1)
    const bitsMax = family === 6 ? 128 : 32
    if (family === 0 || (slash !== -1 && (!/^\d{1,3}$/.test(bits) || Number(bits) > bitsMax))) {
      throw new TypeError(
        `trusted_proxies: "${entry}" is not an address or CIDR block; write it like 10.0.0.0/8 or 2001:db8::/32`,
      )
    }
    list.addSubnet(address, slash === -1 ? bitsMax : Number(bits), family === 6 ? 'ipv6' : 'ipv4')
  }
  return new TrustedProxies(list)
}

/** `::ffff:192.0.2.1` (what a dual-stack socket reports) as `192.0.2.1`. */
export function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}
