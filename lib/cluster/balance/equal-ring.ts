/**
 * The ring of a moderate number of equal members. The only importing file of `hashring`. @pure
 *
 * The package places the points and finds a key's place among them; the walk from there is ours. Weights are not given to it:
 * it normalises them by their sum, so that one member's change would move keys between the others. For the same reason each
 * gets its number of points explicitly: derived from a weight it is rounded down for some ring sizes (⌊1/49 · 40 · 49⌋ is 39).
 *
 * `get` and `range` of the package are left out: the first caches per key under names that clients choose, the second
 * builds a list for each request.
 */
import HashRing from 'hashring'
import { takesNew } from './admits.ts'
import type { Candidate } from './balancer.ts'
import { pointsPerMember, writePoints } from './hash.ts'
import type { Fits, Ring } from './ring.ts'
import { standIn, walkMax } from './stand-in.ts'

/** The package asks for four points at a time. */
const pointsPerDigest = 4
const bytesPerDigest = pointsPerDigest * 4

export class EqualRing<M extends Candidate> implements Ring<M> {
  readonly #members: readonly M[]
  readonly #ring: HashRing
  /** The member of each point. */
  readonly #owners: readonly M[]
  passedOwner: M | null = null

  constructor(members: readonly M[]) {
    // Of two points at one place the lower id's comes first, whatever the order of the members.
    this.#members = [...members].sort((a, b) => (a.id < b.id ? -1 : 1))
    // A prefix keeps an id such as `__proto__` from meaning anything to an object used as a map.
    const byName = new Map(this.#members.map(member => [`/${member.id}`, member]))
    const servers: Record<string, { vnodes: number }> = {}
    for (const name of byName.keys()) servers[name] = { vnodes: pointsPerMember / pointsPerDigest }
    this.#ring = new HashRing(servers, digests(), {
      // Any number but that of `vnodes`: equal ones would be taken for "derive it from the weight".
      'vnode count': 1,
      replicas: pointsPerDigest,
      'max cache size': 1,
    })
    this.#owners = this.#ring.ring.map(point => byName.get(point.server)!)
  }

  owner(hash: number): M | null {
    return this.#owners[this.#ring.find(hash)] ?? null
  }

  next(hash: number, tried: ReadonlySet<M>, fits: Fits<M> | null): M | null {
    const owners = this.#owners
    let at = this.#ring.find(hash)
    this.passedOwner = owners[at] ?? null
    for (let step = Math.min(owners.length, walkMax); step > 0; step--) {
      const member = owners[at]!
      if (takesNew(member, tried) && (fits === null || fits(member))) return member
      at = at + 1 === owners.length ? 0 : at + 1
    }
    return owners.length > walkMax ? standIn(this.#members, hash, tried, fits) : null
  }
}

/** Answers the package's `/<id>-<n>` with the n-th four of the member's points, as bytes, the lowest first. */
function digests(): (key: string) => Uint8Array {
  const points = new Uint32Array(pointsPerMember)
  const bytes = new DataView(new ArrayBuffer(pointsPerMember * 4))
  let known = ''
  return key => {
    const dash = key.lastIndexOf('-')
    const id = key.slice(1, dash)
    if (id !== known) {
      writePoints(id, points, 0)
      points.forEach((point, at) => {
        bytes.setUint32(at * 4, point, true)
      })
      known = id
    }
    return new Uint8Array(bytes.buffer, Number(key.slice(dash + 1)) * bytesPerDigest, bytesPerDigest)
  }
}
