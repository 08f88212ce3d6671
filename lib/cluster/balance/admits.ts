/** Whether a member takes a client that is bound to nobody: asked by every balancer and by the ring. @pure */
import type { Candidate } from './balancer.ts'

export function takesNew<M extends Candidate>(member: M, tried: ReadonlySet<M>): boolean {
  return member.eligibility() === 'any' && member.weight > 0 && !(tried.size > 0 && tried.has(member))
}

/** How many random members are looked at before the whole list is walked. */
export const probesMax = 16
