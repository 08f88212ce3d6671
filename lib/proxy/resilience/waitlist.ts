/**
 * Those who wait, in the order of their deadlines, as a linked list: who leaves from the middle is taken out at once, however many
 * wait. @pure  Knows no time: the owner looks at the first place's deadline.
 */

export class Place<T> {
  readonly who: T
  readonly deadlineMs: number
  /** Null: it waits no more. */
  list: Waitlist<T> | null = null
  before: Place<T> | null = null
  after: Place<T> | null = null

  constructor(who: T, deadlineMs: number) {
    this.who = who
    this.deadlineMs = deadlineMs
  }
}

export class Waitlist<T> {
  #first: Place<T> | null = null
  #last: Place<T> | null = null
  #length = 0

  get first(): Place<T> | null {
    return this.#first
  }

  get length(): number {
    return this.#length
  }

  /** Behind all whose deadline is not later: as a rule at the end. */
  add(place: Place<T>): void {
    let before = this.#last
    while (before !== null && before.deadlineMs > place.deadlineMs) before = before.before
    const after = before === null ? this.#first : before.after
    place.list = this
    place.before = before
    place.after = after
    if (before === null) this.#first = place
    else before.after = place
    if (after === null) this.#last = place
    else after.before = place
    this.#length++
  }

  /** False: it was not in here. */
  remove(place: Place<T>): boolean {
    if (place.list !== this) return false
    const { before, after } = place
    if (before === null) this.#first = after
    else before.after = after
    if (after === null) this.#last = before
    else after.before = before
    place.list = null
    place.before = null
    place.after = null
    this.#length--
    return true
  }
}
