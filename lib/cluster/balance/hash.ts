/**
 * Where keys and members fall on the ring of hashes. @pure
 *
 * MurmurHash3's 32-bit rounds, two characters a block: some ten nanoseconds a key. It need not withstand an attacker: whoever
 * chooses keys can crowd one member whatever the hash, by trying some. What limits that is bounded load.
 */

/** 0 … 2^32−1. */
export function hashOf(text: string, seed = 0): number {
  let state = seed
  const even = text.length & ~1
  for (let at = 0; at < even; at += 2) {
    state ^= scrambled(text.charCodeAt(at) | (text.charCodeAt(at + 1) << 16))
    state = (Math.imul((state << 13) | (state >>> 19), 5) + 0xe6546b64) | 0
  }
  if (even < text.length) state ^= scrambled(text.charCodeAt(even))
  return mixed(state ^ text.length)
}

/** Another hash of a hash, as good as independent of it for each `salt`. 0 … 2^32−1. */
export function rehashed(hash: number, salt: number): number {
  return mixed(mixed((hash + Math.imul(salt, goldenStep)) | 0) ^ salt)
}

/** How many points a member has: the largest share of ten equal members is about 1.2 times the mean. */
export const pointsPerMember = 160

/** Writes a member's points to `out` from `at` on. They follow from its id alone: whoever else is there moves none of them. */
export function writePoints(id: string, out: Uint32Array, at: number): void {
  const first = hashOf(id)
  const second = hashOf(id, secondSeed)
  for (let point = 0; point < pointsPerMember; point++)
    out[at + point] = mixed(mixed((first + Math.imul(point, goldenStep)) | 0) ^ second)
}

const secondSeed = 0x5bd1e995
/** 2^32 divided by the golden ratio. */
const goldenStep = 0x9e3779b9

function scrambled(block: number): number {
  const spread = Math.imul(block, 0xcc9e2d51)
  return Math.imul((spread << 15) | (spread >>> 17), 0x1b873593)
}

function mixed(state: number): number {
  let value = state ^ (state >>> 16)
  value = Math.imul(value, 0x85ebca6b)
  value ^= value >>> 13
  value = Math.imul(value, 0xc2b2ae35)
  return (value ^ (value >>> 16)) >>> 0
}
