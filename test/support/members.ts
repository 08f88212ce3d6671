/** Members on a real board, and chance that a printed seed repeats. */
import { Board, type Eligibility } from '../../lib/cluster/board.ts'
import { Member } from '../../lib/cluster/member.ts'

export interface Crowd {
  readonly board: Board
  readonly members: readonly Member[]
  admit(index: number, eligibility: Eligibility): void
}

/** `weights.length` members in slots 0 …, all admitting everyone. */
export function crowd(weights: readonly number[], epoch = 1): Crowd {
  const board = Board.create(1)
  const members = weights.map((weight, slot) => memberAt(board, slot, { weight, epoch }))
  const admit = (index: number, eligibility: Eligibility) => board.admit(index, epoch, eligibility)
  for (const { slot } of members) admit(slot, 'any')
  return { board, members, admit }
}

export function memberAt(
  board: Board,
  slot: number,
  { id = `m${slot}`, weight = 1, epoch = 1 }: { id?: string; weight?: number; epoch?: number } = {},
): Member {
  const data = { id, incarnation: `life-${id}-${epoch}`, host: '127.0.0.1', port: 1000 + slot, weight }
  return new Member({ ...data, slot, epoch }, board, 0)
}

/** A seed from the environment (to repeat a failure) or a fresh one; print it. */
export function seed(): number {
  return Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))
}

/** mulberry32: small, fast, and the same for the same seed. */
export function seeded(start: number): () => number {
  let state = start >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export const nobody: ReadonlySet<Member> = new Set()
