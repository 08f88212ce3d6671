/**
 * What is done to the cluster next: everything follows from the seed and from how many instances serve. Kinds are drawn like cards, so
 * each comes once before any comes again. Who it happens to is a number between 0 and 1, for whoever is there then. @pure
 */
import type { Random } from '../../fuzz/random.ts'
import type { ChurnDriver } from './installation.ts'

export type Action =
  | { readonly kind: 'scale'; readonly to: number }
  | { readonly kind: 'replace'; readonly whom: number }
  | { readonly kind: 'resize'; readonly whom: number; readonly memoryMiB: number; readonly cpus: number }
  | { readonly kind: 'drain_node'; readonly whom: number }
  /** SIGKILL, while nothing else happens or in the middle of the growth to so many. */
  | { readonly kind: 'kill'; readonly whom: number; readonly growingTo: number | null }

export type Kind = Action['kind']

export interface Standing {
  readonly instances: number
  readonly max: number
}

/** More of what is asked for most. Processes have no size of their own. */
export const decks: Readonly<Record<ChurnDriver, readonly Kind[]>> = {
  process: ['scale', 'scale', 'scale', 'replace', 'drain_node', 'kill'],
  qemu: ['scale', 'scale', 'scale', 'replace', 'resize', 'drain_node', 'kill'],
}
/** Of an instance of 384 MiB: what it has, and a module more. */
const memoriesMiB = [384, 512]

export class Actions {
  readonly #random: Random
  readonly #deck: readonly Kind[]
  #cards: Kind[] = []

  constructor(random: Random, deck: readonly Kind[]) {
    this.#random = random
    this.#deck = deck
  }

  next(standing: Standing): Action {
    const { instances, max } = standing
    if (this.#cards.length === 0) this.#cards = this.#shuffled(this.#deck)
    // Nobody is killed who is alone: what he knew would be lost to all.
    const at = this.#cards.findIndex(kind => kind !== 'kill' || instances > 1)
    if (at < 0) return { kind: 'scale', to: 2 + this.#random.below(max - 1) }
    const [kind] = this.#cards.splice(at, 1) as [Kind]
    return this.#action(kind, standing)
  }

  #action(kind: Kind, { instances, max }: Standing): Action {
    const random = this.#random
    const whom = random.next()
    switch (kind) {
      case 'scale': {
        const others = Array.from({ length: max }, (_, i) => i + 1).filter(count => count !== instances)
        return { kind, to: random.pick(others) }
      }
      case 'replace':
      case 'drain_node':
        return { kind, whom }
      case 'resize':
        return { kind, whom, memoryMiB: random.pick(memoriesMiB), cpus: random.pick([1, 2]) }
      case 'kill':
        return { kind, whom, growingTo: instances < max && random.chance(0.5) ? instances + 1 : null }
    }
  }

  #shuffled(sorted: readonly Kind[]): Kind[] {
    const cards = [...sorted]
    for (let i = cards.length - 1; i > 0; i--) {
      const j = this.#random.below(i + 1)
      ;[cards[i], cards[j]] = [cards[j]!, cards[i]!]
    }
    return cards
  }
}
