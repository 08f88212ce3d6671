/** As `differences.ts`, for answers: the relay beside Node's own client. */
import type { AnswerFault, AnswerReading } from './answer-reference.ts'
import type { NodeAnswer } from './llhttp.ts'

/** What the relay refuses and Node takes, by the fault that is found. */
export const stricterOfAnswers: Partial<Record<AnswerFault, string>> = {
  'status line': 'Node lets control characters into the reason, which goes on to a client.',
  'two codings': 'As in a request.',
  coding:
    'Node reads an unknown coding up to the end of the connection; the client could not be told what it is.',
  'coding in HTTP/1.0': 'As in a request.',
  'unasked switch':
    'A 101 that nobody asked for is no answer; Node hands the connection to whom it may concern.',
  'too many fields': 'A bound of ours: 256.',
  'head too large': 'A bound of ours: 64 KiB.',
  'too many interim answers': 'A bound of ours: 32.',
  chunks: 'Extensions and trailers as in a request.',
}

/** What the relay takes and Node refuses. */
export const laxerOfAnswers: Readonly<
  Record<string, { readonly why: string; readonly is: (answer: AnswerReading) => boolean }>
> = {
  'framing field as a trailer': {
    why: 'As in a request: it is taken out.',
    is: ({ trailers }) => trailers.some(([name]) => /^(?:content-length|transfer-encoding)$/.test(name)),
  },
}

/** Null: both agree, or the difference is listed; else what it is. */
export function unlistedInAnswer(ours: AnswerReading, node: NodeAnswer | null): string | null {
  if (ours.outcome === 'whole') {
    if (node === null)
      return Object.values(laxerOfAnswers).some(({ is }) => is(ours)) ? null : 'Node refuses the answer'
    const same = node.status === ours.status && node.body === ours.body
    return same ? null : `Node reads ${node.status} with ${JSON.stringify(node.body).slice(0, 200)}`
  }
  if (node === null) return null
  const more = ours.faults.filter(fault => !(fault in stricterOfAnswers))
  return more.length > 0 || ours.outcome === 'cut'
    ? `Node takes the answer: ${more.join(', ') || ours.outcome}`
    : null
}
