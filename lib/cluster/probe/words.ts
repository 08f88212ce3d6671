/** What is said of a check, and what an application says of itself. @pure */
import { isIPv6 } from 'node:net'
import type { SelfReport, Verdict } from '../health.ts'

/** The response header in which an application says how it is. */
export const selfReportHeader = 'x-tidegate-health'

/** Nobody has said anything: the connection was cut, or nothing came back at all. A refusal is somebody's. */
const nothingSaid = new Set(['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH'])

/** A check that an error ended before any answer. */
export function unanswered(error: NodeJS.ErrnoException): Verdict {
  const verdict = { ok: false, reason: failure(error) }
  return nothingSaid.has(error.code ?? '') ? { ...verdict, silent: true } : verdict
}

/** An error of the socket, of TLS or of the parser in a few words. */
export function failure(error: NodeJS.ErrnoException): string {
  const { code, syscall, message } = error
  if (code === 'ECONNRESET') return 'connection closed before the answer was complete'
  if (code?.startsWith('HPE_')) return `answered something that is not HTTP (${code})`
  if (code?.startsWith('ERR_HTTP2_')) return `answered something that is not HTTP/2 (${code})`
  if (!code) return message
  if (syscall) return `${syscall} ${code}`
  // Only errors of the system have a name such as ECONNREFUSED and may come without the call; the rest is OpenSSL's.
  return /^E[A-Z]+$/.test(code) ? `connect ${code}` : `TLS failed (${code})`
}

export interface Said {
  /** Null: nothing, or a word that is not known. */
  readonly says: SelfReport | null
  /** To be added to the reason; empty where nothing is worth it. */
  readonly note: string
}

export function selfReport(header: string | readonly string[] | undefined): Said {
  if (header === undefined) return { says: null, note: '' }
  const word = String(header).trim().toLowerCase()
  if (word === 'ready') return { says: word, note: '' }
  if (word === 'degraded' || word === 'draining') return { says: word, note: ` and said ${word}` }
  return { says: null, note: ' and said something of itself that is not known' }
}

export function hostAndPort(host: string, port: number): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`
}
