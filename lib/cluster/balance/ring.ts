/**
 * Consistent hashing: each key has an owner, and when a member leaves only its own keys move. The only importing file of
 * `hashring`.
 *
 * Every member of weight > 0 has the same number of points. Weights beyond that are ignored: hashring normalises them by
 * their sum, so one member's change would move keys between the others. For the same reason the points are given to it
 * as explicit counts: derived from a weight they are rounded down for some ring sizes (⌊1/49 · 40 · 49⌋ is 39).
 *
 * `get` and `range` of the package are left out: the first caches per key under names that clients choose, the second
 * builds a list for each request.
 */
import { hash } from 'node:crypto'
import HashRing from 'hashring'
import { takesNew } from './admits.ts'
import type { Candidate } from './balancer.ts'

/** 40 hashes of four points each, as ketama has them: the largest share of ten members is about 1.2 times the mean. */
const hashesPerMember = 40
const pointsPerHash = 4

export class Ring<M extends Candidate> {
  readonly #ring: HashRing
  /** The member of each point. */
  readonly #owners: readonly M[]

  constructor(members: readonly M[]) {
    // A prefix keeps an id such as `__proto__` from meaning anything to an object used as a map.
    const byName = new Map(
      members.filter(member => member.weight > 0).map(member => [`/${member.id}`, member]),
    )
    const servers: Record<string, { vnodes: number }> = {}
    for (const name of byName.keys()) servers[name] = { vnodes: hashesPerMember }
    this.#ring = new HashRing(servers, digest, {
      // Any number but `hashesPerMember`: equal ones would be taken for "derive it from the weight".
      'vnode count': 1,
      replicas: pointsPerHash,
      'max cache size': 1,
    })
    this.#owners = this.#ring.ring.map(point => byName.get(point.server)!)
  }

  /** Where the key falls: the place its walk around the ring begins. */
  place(key: string): number {
    return this.#owners.length === 0 ? 0 : this.#ring.find(this.#ring.hashValue(key))
  }

  /** Whose the keys at this place are, whether it can serve or not; null on an empty ring. */
  owner(place: number): M | null {
    return this.#owners[place] ?? null
  }

  /** The first member from this place on that takes new clients and is not in `tried`. */
  next(place: number, tried: ReadonlySet<M>): M | null {
    const owners = this.#owners
    for (let step = 0; step < owners.length; step++) {
      const member = owners[place + step < owners.length ? place + step : place + step - owners.length]!
      if (takesNew(member, tried)) return member
    }
    return null
  }
}

function digest(key: string): Uint8Array {
  return hash('sha256', key, 'buffer')
}
