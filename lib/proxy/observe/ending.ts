/**
 * How an exchange ended, in two letters: who ended it, and in which phase. @pure
 *
 * The letters say where to look; the error code beside them says what happened. The set is closed: whatever the three facts
 * are, one of these comes out, and `docs/observation.md` has a row for each.
 */
import { type ErrorCode, errorTable } from '../../errors.ts'

/** Who ended it. `nobody`: it ended as it should, or fell silent (a tunnel). */
export type EndedBy = 'nobody' | 'client' | 'backend' | 'proxy'

/**
 * request: the head is read, checked, routed · queue: it waits for a member · connect · upload: the request is being sent ·
 * head: the answer's head is awaited · data: the answer is passed on · last: the backend is done, the client still reads · tunnel
 */
export type Phase = 'request' | 'queue' | 'connect' | 'upload' | 'head' | 'data' | 'last' | 'tunnel'

/** Small letters: that side was too slow. */
export const endings = {
  '--': 'The whole answer was sent.',
  '-T': 'A tunnel on which both sides were silent for too long.',
  CR: 'The client left before its request was read.',
  CQ: 'The client left while it waited for a backend.',
  CC: 'The client left while the backend was being connected to.',
  CU: 'The client left in the middle of its request body.',
  CH: 'The client left before the answer began.',
  CD: 'The client left in the middle of the answer.',
  CL: 'The client left when the backend had sent everything and it had not read everything.',
  CT: 'The client ended the tunnel.',
  cR: 'The client was too slow with its request head.',
  cU: 'The client was too slow with its request body.',
  cD: 'The client was too slow to read the answer.',
  cL: 'The client was too slow to read the rest of the answer.',
  BC: 'The backend could not be connected to.',
  BU: 'The backend broke off while it was sent the request.',
  BH: 'The backend broke off before its answer, or its answer was not HTTP.',
  BD: 'The backend broke off in the middle of its answer.',
  BT: 'The backend ended the tunnel.',
  bC: 'The backend did not accept the connection in time.',
  bU: 'The backend stopped reading the request.',
  bH: 'The backend did not answer in time.',
  bD: 'The backend stopped sending in the middle of its answer.',
  PR: 'The proxy refused the request, or no route led anywhere.',
  PQ: 'The proxy had no backend for it, or none in time, or too much to do.',
  PC: 'The proxy gave up while it connected.',
  PU: 'The proxy gave up in the middle of the request body.',
  PH: 'The proxy gave up before the answer.',
  PD: 'The proxy broke the answer off: its member was cut, or the grace period of a stop was over.',
  PL: 'The proxy broke the rest of the answer off.',
  PT: 'The proxy closed the tunnel: a drain or a stop.',
} as const

export type Ending = keyof typeof endings

/** All, in a fixed order: an ending's place here is its number in the counters. */
export const endingList = Object.keys(endings) as readonly Ending[]

const phaseLetters: Record<Phase, string> = {
  request: 'R',
  queue: 'Q',
  connect: 'C',
  upload: 'U',
  head: 'H',
  data: 'D',
  last: 'L',
  tunnel: 'T',
}
const byLetters: Record<EndedBy, string> = { nobody: '-', client: 'C', backend: 'B', proxy: 'P' }

/** Codes that can come of one phase only, however far its exchange believed to be. */
const phaseOfCode: Partial<Record<ErrorCode, Phase>> = {
  no_backend: 'queue',
  circuit_open: 'queue',
  queue_full: 'queue',
  queue_timeout: 'queue',
  overloaded: 'queue',
  upstream_connect_failed: 'connect',
  upstream_connect_timeout: 'connect',
  upstream_tls_failed: 'connect',
}

/** `by`: null takes it from the error code, or `nobody` without one. `late`: whoever it was, was too slow. */
export function ending(
  error: ErrorCode | null,
  reached: Phase,
  by: EndedBy | null,
  late: boolean = false,
): Ending {
  if (error === null && (by === null || by === 'nobody')) return reached === 'tunnel' ? '-T' : '--'
  const phase = (error === null ? undefined : phaseOfCode[error]) ?? reached
  const blamed = error === null ? null : blame(error)
  const side = by === null || by === 'nobody' ? (blamed?.by ?? 'proxy') : by
  const letter = byLetters[side]
  const slow = late || (blamed?.slow === true && blamed.by === side)
  return known(slow ? letter.toLowerCase() : letter, phase) ?? known(letter, phase) ?? known('P', phase)!
}

function known(who: string, phase: Phase): Ending | null {
  const code = who + phaseLetters[phase]
  return Object.hasOwn(endings, code) ? (code as Ending) : null
}

/** Whom a code speaks of. Refusals are the proxy's act, whatever led to them. */
function blame(error: ErrorCode): { readonly by: EndedBy; readonly slow: boolean } {
  const slow = error.endsWith('_timeout')
  if (error === 'client_closed' || error === 'request_timeout') return { by: 'client', slow }
  if (errorTable[error].source === 'upstream' && error.startsWith('upstream_')) return { by: 'backend', slow }
  return { by: 'proxy', slow: false }
}
