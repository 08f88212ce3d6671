/**
 * What a namespace is made of: names, addresses, and the rules in it. @pure
 *
 *   Tidegate ── tg<address> ═══ outer ── [nat] ── tap0 ── guest
 *   100.96.0.1     veth pair    100.96.x.y        10.0.2.2   10.0.2.15
 *   └──────── host ────────┘   └───────── namespace ────────┘
 *
 * All host ends have one address, each instance has one of the pool, routed to its veth. A name says whose it is: the
 * namespace's holds the hashes of the node's directory and of the instance's, the veth's holds the instance's address, so
 * that the kernel, which refuses a second interface of one name, hands out addresses without a list of them anywhere.
 */
import { createHash } from 'node:crypto'
import { isIPv4 } from 'node:net'
import { basename, dirname } from 'node:path'
import { TidegateError } from '../../errors.ts'
import { guestNet } from './network.ts'

export interface Pool {
  /** First address, as a number. */
  readonly base: number
  readonly size: number
}

export const poolDefault = '100.96.0.0/16'
const prefix = { min: 16, max: 28 }
const namePrefix = 'tidegate'
export const tapName = 'tap0'
export const uplink = 'outer'

/** Throws `invalid_config`. */
export function parsePool(text: unknown, where: string): Pool {
  const match = typeof text === 'string' ? /^([0-9.]+)\/(\d{1,2})$/.exec(text) : null
  const bits = Number(match?.[2])
  if (match === null || !isIPv4(match[1]!) || bits < prefix.min || bits > prefix.max) {
    throw new TidegateError(
      'invalid_config',
      `${where} must be an IPv4 network of /${prefix.min} to /${prefix.max} that nothing else here uses, like ${poolDefault}`,
      { details: { field: where } },
    )
  }
  const size = 2 ** (32 - bits)
  const address = toNumber(match[1]!)
  return { base: address - (address % size), size }
}

/** The host's own address in the pool. */
export const hostAddress = (pool: Pool): string => toText(pool.base + 1)

/** The `attempt`th address to try for an instance: spread by its directory, so that the first is nearly always free. */
export function addressFor(pool: Pool, directory: string, attempt: number): string {
  const usable = pool.size - 3
  return toText(pool.base + 2 + ((Number.parseInt(hashOf(directory, 8), 16) + attempt) % usable))
}

export const addressesOf = (pool: Pool): number => pool.size - 3

/** Of the instances under a node's directory. */
export const namespacePrefix = (nodeDirectory: string): string =>
  `${namePrefix}-${hashOf(nodeDirectory, 12)}-`

/** `<node>/instances/<name>` → the namespace of that instance. */
export const namespaceName = (directory: string): string =>
  `${namespacePrefix(dirname(dirname(directory)))}${hashOf(basename(directory), 12)}`

/** At most 15 characters, as the kernel wants. */
export const vethName = (address: string): string => `tg${toNumber(address).toString(16).padStart(8, '0')}`

/** Lines for `ip -n <namespace> -batch -`, run once the veth pair is there. */
export function insideBatch(address: string, host: string): string {
  return `${[
    'link set lo up',
    `link set ${uplink} up`,
    `addr add ${address}/32 dev ${uplink}`,
    `route add ${host}/32 dev ${uplink} src ${address}`,
    `route add default via ${host} dev ${uplink} src ${address}`,
    `tuntap add dev ${tapName} mode tap`,
    `link set ${tapName} address ${guestNet.gatewayMac} up`,
    `addr add ${guestNet.gateway}/${guestNet.prefixLength} dev ${tapName}`,
  ].join('\n')}\n`
}

/** Lines for `ip -batch -` outside. */
export function outsideBatch(address: string, host: string): string {
  const veth = vethName(address)
  return `${[
    `addr add ${host}/32 dev ${veth}`,
    `link set ${veth} up`,
    `route add ${address}/32 dev ${veth} src ${host}`,
  ].join('\n')}\n`
}

/**
 * The namespace's rules, for `nft -f -`: the given ports lead to the guest; it opens connections only where it may; and
 * it never reaches the namespace itself.
 */
export function rules(ports: readonly number[], outbound: boolean): string {
  const list = [...new Set(ports)].join(', ')
  const out = outbound ? `    iifname "${tapName}" oifname "${uplink}" accept\n` : ''
  return `table inet tidegate {
  chain inward {
    type nat hook prerouting priority dstnat
    iifname "${uplink}" tcp dport { ${list} } dnat ip to ${guestNet.address}
  }
  chain outward {
    type nat hook postrouting priority srcnat
    ip saddr ${guestNet.address} oifname "${uplink}" masquerade
  }
  chain through {
    type filter hook forward priority filter; policy drop
    ct state established,related accept
    iifname "${uplink}" oifname "${tapName}" tcp dport { ${list} } accept
${out}  }
  chain self {
    type filter hook input priority filter; policy drop
  }
}
`
}

const hashOf = (text: string, length: number): string =>
  createHash('sha256').update(text).digest('hex').slice(0, length)

const toNumber = (address: string): number =>
  address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)

const toText = (address: number): string =>
  [24, 16, 8, 0].map(shift => Math.floor(address / 2 ** shift) % 256).join('.')
