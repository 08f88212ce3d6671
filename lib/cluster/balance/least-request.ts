/** The member with the least under way for its weight. @pure */
import type { Balancer, Candidate } from './balancer.ts'
import { LowestCost } from './lowest-cost.ts'

export class LeastRequest<M extends Candidate> extends LowestCost<M> implements Balancer<M> {
  readonly kind = 'least_request'

  protected cost(member: M): number {
    return member.load() / member.weight
  }
}
