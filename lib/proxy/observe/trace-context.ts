/**
 * W3C Trace Context: `traceparent` and `tracestate`, read without leniency and written. @pure
 * What cannot be read is as good as absent: a trace that begins anew is better than one that is wrongly joined.
 */

export interface TraceParent {
  /** 32 hexadecimal digits, not all zero. */
  readonly traceId: string
  /** 16, likewise. */
  readonly parentId: string
  /** 0 … 255; bit 0 is `sampled`, bit 1 says that the trace id is random. */
  readonly flags: number
}

export const sampledFlag = 1
export const randomFlag = 2

/** Of a version that we do not know; version 00 has 55. */
const traceparentCharsMax = 512
const traceparentChars = 55
const tracestateMembersMax = 32
/** What is passed on at most; every intermediary has to carry 512. */
export const tracestateCharsMax = 1_024
/** Members longer than this are the first to go when there are too many characters. */
const memberCharsLong = 128

const traceparent = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-|$)/
const zeroTrace = '0'.repeat(32)
const zeroParent = '0'.repeat(16)

/** Null: not valid. Several fields of this name, joined by a comma as they are by HTTP, are not either. */
export function parseTraceparent(field: string): TraceParent | null {
  const text = trimmed(field)
  if (text.length < traceparentChars || text.length > traceparentCharsMax) return null
  const match = traceparent.exec(text)
  if (match === null) return null
  const [, version, traceId, parentId, flags] = match
  // A later version may carry more after a dash; this one may not.
  if (version === 'ff' || (version === '00' && text.length !== traceparentChars)) return null
  if (traceId === zeroTrace || parentId === zeroParent) return null
  return { traceId: traceId!, parentId: parentId!, flags: Number.parseInt(flags!, 16) }
}

/** In version 00, which knows two flags. */
export function formatTraceparent(traceId: string, spanId: string, flags: number): string {
  return `00-${traceId}-${spanId}-0${flags & (sampledFlag | randomFlag)}`
}

const simpleKey = /^[a-z0-9][a-z0-9_\-*/]{0,255}$/
const tenantKey = /^[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}$/
/** Printable ASCII without comma and equals sign, not ending in a space (which was trimmed away). */
const memberValue = /^[ -+\--<>-~]{1,256}$/

/** The list as it is passed on; null: empty, or not valid as a whole. */
export function parseTracestate(field: string): string | null {
  const members: string[] = []
  const keys = new Set<string>()
  for (const part of field.split(',')) {
    const member = trimmed(part)
    if (member === '') continue
    const equals = member.indexOf('=')
    if (equals === -1) return null
    const key = member.slice(0, equals)
    if (!simpleKey.test(key) && !tenantKey.test(key)) return null
    if (!memberValue.test(member.slice(equals + 1))) return null
    if (keys.has(key)) return null
    keys.add(key)
    if (members.push(member) > tracestateMembersMax) return null
  }
  return shortened(members).join(',') || null
}

/** Long members go first, then the last: the newest are in front. */
function shortened(members: string[]): readonly string[] {
  let chars = members.reduce((sum, member) => sum + member.length + 1, -1)
  for (let i = members.length - 1; i >= 0 && chars > tracestateCharsMax; i--) {
    if (members[i]!.length <= memberCharsLong) continue
    chars -= members[i]!.length + 1
    members.splice(i, 1)
  }
  while (chars > tracestateCharsMax) chars -= members.pop()!.length + 1
  return members
}

/** Optional white space of HTTP: spaces and tabs only. */
function trimmed(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && isSpace(text.charCodeAt(start))) start++
  while (end > start && isSpace(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

const isSpace = (code: number) => code === 0x20 || code === 0x09
