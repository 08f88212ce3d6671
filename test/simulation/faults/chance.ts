/** Chance from one seed: the same on every machine. */

/** Mulberry32: small, and good enough to choose faults by. 0 ≤ x < 1. */
export function generator(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = Math.imul(state ^ (state >>> 15), 1 | state)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
}

export class Chance {
  readonly next: () => number

  constructor(seed: number) {
    this.next = generator(seed)
  }

  /** True once in `1 / share` times. */
  happens(share: number): boolean {
    return this.next() < share
  }

  /** A whole number from `min` to `max`. */
  whole(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1))
  }

  one<T>(items: readonly T[]): T | undefined {
    return items[Math.floor(this.next() * items.length)]
  }

  /** A key, by its share; null where the shares leave room and chance falls there. */
  among<K extends string>(shares: Readonly<Record<K, number>>): K | null {
    let left = this.next()
    for (const key in shares) {
      if (left < shares[key]) return key
      left -= shares[key]
    }
    return null
  }
}
