/** Members on a real board, and chance that a printed seed repeats. */
import { Board, type Eligibility } from '../../lib/cluster/board.ts'
import { Member } from '../../lib/cluster/member.ts'

export interface Crowd {
  readonly board: Board
  readonly members: readonly Member[]
  admit(index: number, eligibility: Eligibility): void
}

export interface CrowdOptions {
  readonly epoch?: number
  readonly zoneOf?: (index: number) => string | null
  /** Wall clock; given, what answers take is kept. */
  readonly now?: () => number
}

/** `weights.length` members in slots 0 …, all admitting everyone. */
export function crowd(weights: readonly number[], { epoch = 1, zoneOf, now }: CrowdOptions = {}): Crowd {
  const board = Board.create(1)
  const members = weights.map((weight, slot) =>
    memberAt(board, slot, { weight, epoch, zone: zoneOf?.(slot) ?? null, ...(now ? { now } : {}) }),
  )
  const admit = (index: number, eligibility: Eligibility) => board.admit(index, epoch, eligibility)
  for (const { slot } of members) admit(slot, 'any')
  return { board, members, admit }
}

export interface MemberOptions {
  readonly id?: string
  readonly weight?: number
  readonly epoch?: number
  readonly zone?: string | null
  readonly now?: () => number
}

export function memberAt(
  board: Board,
  slot: number,
  { id = `m${slot}`, weight = 1, epoch = 1, zone = null, now }: MemberOptions = {},
): Member {
  const data = { id, incarnation: `life-${id}-${epoch}`, host: '127.0.0.1', port: 1000 + slot, weight, zone }
  return new Member({ ...data, slot, epoch }, board, 0, now ?? null)
}

/** How often each id comes in so many picks. */
export function tally(count: number, pick: () => { readonly id: string } | null): Map<string, number> {
  const counts = new Map<string, number>()
  for (let i = 0; i < count; i++) {
    const id = pick()?.id ?? 'nobody'
    counts.set(id, (counts.get(id) ?? 0) + 1)
  }
  return counts
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
