/**
 * What of all that clients saw may not be. Each failure has somebody it was with, or nobody can tell: a client that is bound says with its last answer
 * where the next request goes. With a machine that was struck requests may fail for a while, with any other never; while there is no controller there is
 * nobody to ask. @pure
 */
export interface Failure {
  /** Wall clock. */
  readonly fromMs: number
  readonly toMs: number
  /** Empty: nobody can tell. */
  readonly instance: string
  readonly what: string
}

/** The same clock. */
export interface Span {
  readonly fromMs: number
  readonly toMs: number
}

export interface Circumstances {
  /** Each with the time in which it may cost requests. */
  readonly struck: readonly (Span & { readonly instance: string })[]
  /** In which no controller answered. */
  readonly away: readonly Span[]
}

export interface Verdict {
  readonly faults: readonly string[]
  readonly excused: number
}

export function judge(failures: readonly Failure[], { struck, away }: Circumstances): Verdict {
  const excused = (failure: Failure) =>
    away.some(span => meets(failure, span)) ||
    struck.some(one => ['', one.instance].includes(failure.instance) && meets(failure, one))
  const left = failures.filter(failure => !excused(failure))
  return { faults: left.map(told), excused: failures.length - left.length }
}

const meets = (a: Span, b: Span): boolean => a.fromMs <= b.toMs && a.toMs >= b.fromMs

const told = ({ fromMs, toMs, instance, what }: Failure): string =>
  `a request of ${time(fromMs)} to ${time(toMs)} failed on ${instance || 'nobody'}: ${what}`

const time = (ms: number) => new Date(ms).toISOString().slice(11, 23)
