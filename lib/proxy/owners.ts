/**
 * Whom sessions belong to: a cluster's members by incarnation, as long as its membership is the same.
 *
 * Where a session led is kept with the opened session, so that a client that comes again is not searched for among ten thousand.
 * Kept is the number of this search, and not the search: a client may come again for an hour, and a generation has to go before.
 */
import type { Member } from '../cluster/member.ts'
import type { OpenedSession } from './session-cookie.ts'

let made = 0

export class Owners {
  readonly #number = ++made
  readonly #byIncarnation: ReadonlyMap<string, Member>

  constructor(members: readonly Member[]) {
    this.#byIncarnation = new Map(members.map(member => [member.incarnation, member]))
  }

  get(incarnation: string): Member | null {
    return this.#byIncarnation.get(incarnation) ?? null
  }

  /** Null: it has left. */
  of(session: OpenedSession<Member>): Member | null {
    if (session.soughtIn !== this.#number) {
      session.soughtIn = this.#number
      session.owner = this.get(session.incarnation)
    }
    return session.owner
  }
}
