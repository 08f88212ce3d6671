/** Names of operations and of what they make. @pure */
import { strict as assert } from 'node:assert'
import { createHash } from 'node:crypto'

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz'
const nameMax = 63
const clusterHashLength = 6

/**
 * Twelve lower-case letters and digits: seven of the time in seconds (so that names sort by age), five of chance.
 * `random` is at least five bytes. Two that collide all the same are told apart by the store, which refuses the second.
 */
export function operationId(nowMs: number, random: Uint8Array): string {
  assert(random.length >= 5, 'five bytes of chance')
  let seconds = Math.floor(nowMs / 1000)
  let time = ''
  for (let i = 0; i < 7; i++) {
    time = alphabet[seconds % 32] + time
    seconds = Math.floor(seconds / 32)
  }
  return time + [...random.subarray(0, 5)].map(byte => alphabet[byte % 32]).join('')
}

/**
 * `<cluster>-<operation>-<suffix>`, at most 63 characters: a host name and a file name. A cluster's id that is too long is
 * cut and carries six characters of its hash, so that two long ids with the same beginning stay apart.
 */
export function resourceName(cluster: string, operation: string, suffix: string): string {
  const room = nameMax - operation.length - suffix.length - 2
  if (cluster.length <= room) return `${cluster}-${operation}-${suffix}`
  const hash = createHash('sha256').update(cluster).digest('hex').slice(0, clusterHashLength)
  return `${cluster.slice(0, room - clusterHashLength - 1)}-${hash}-${operation}-${suffix}`
}

const goldenSuffix = 'golden'

/** The golden snapshot that an operation keeps. */
export const goldenName = (cluster: string, operation: string) =>
  resourceName(cluster, operation, goldenSuffix)

export const isGolden = (name: string) => name.endsWith(`-${goldenSuffix}`)
