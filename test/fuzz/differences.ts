/**
 * Where the relay and Node's parser (llhttp behind `node:http`) judge the same bytes differently, and why. A difference that is not
 * here fails the fuzz. The tables in `docs/held-against.md` are these; a test keeps them the same.
 */
import { METHODS } from 'node:http'
import type { NodeReading } from './llhttp.ts'
import type { Fault, Reading, SeenRequest } from './reference.ts'

/** What the relay refuses and Node takes, by the fault that is found. */
export const stricter: Partial<Record<Fault | 'end of the connection', string>> = {
  'request line':
    'Node still reads HTTP/0.9, a target without a version. It has no fields and no length: nothing of today sends it.',
  version:
    'Node takes 0.9 and 2.0 for versions of a text request. HTTP/1.0 and 1.1 are all there is (RFC 9112 §2.3).',
  'empty lines':
    'One empty line before a request is forgiven (RFC 9112 §2.2), more are noise that a reader may count or not.',
  'target form':
    'A proxy has to know whom a request is for: a path, an http URL, or `*` with OPTIONS (RFC 9112 §3.2).',
  'target bytes':
    'A `#`, a blank or a byte that is not ASCII has no place in a target (RFC 3986), and backends cut there.',
  'dot segment': 'A route matches the path as it came; a backend that resolves `..` would serve another one.',
  'two hosts': 'Two readers may choose two of them (RFC 9112 §3.2 demands 400).',
  host: 'What is no authority could be matched by one rule and read by another (RFC 9112 §3.2 demands 400).',
  'no host':
    'Node refuses it too, but reads on behind it, and asks for none where it takes the version for another.',
  'bare LF': 'Where Node sees HTTP/0.9, a line feed ends the line.',
  'too many fields': 'A bound of ours: 200.',
  expectation: 'Only `100-continue` is defined; Node leaves the answer, 417, to the application.',
  'two codings':
    'Chunked twice, or behind something else, is read differently by every server; clients send neither.',
  coding:
    'We know `chunked`. A body in another coding could not be re-framed, and what hides behind it not be seen.',
  'coding in HTTP/1.0':
    'RFC 9112 §6.1 calls the framing faulty: an HTTP/1.0 reader behind us would not know chunks.',
  'chunk size': 'More than 13 digits can only be meant to overflow somebody.',
  'chunk extension':
    'Node takes extensions of up to 16 KiB and does not look at their form; they are noise that hides bytes.',
  trailer: 'Bounds of ours: 8 KiB and 64 fields.',
  'end of the connection':
    'After `close`, after HTTP/1.0 without `keep-alive`, and after an upgrade that was refused nothing more is read; Node reads on in some of these cases.',
}

interface Laxity {
  readonly why: string
  readonly is: (request: SeenRequest, before: SeenRequest | undefined) => boolean
}

/** What the relay takes and Node refuses. */
export const laxer: Readonly<Record<string, Laxity>> = {
  'unknown method': {
    why: 'Methods are an open list (RFC 9110 §16.1): a token of up to 32 characters goes on, and no rule of ours depends on it.',
    is: ({ method }) => !METHODS.includes(method),
  },
  'behind an upgrade': {
    why: 'Node stops reading behind a request that asks for an upgrade. We serve all but a WebSocket as the plain requests they are, and what follows as the next.',
    is: (_request, before) => before !== undefined && asksToUpgrade(before),
  },
  'tab behind a coding': {
    why: 'Blanks around a value are not part of it (RFC 9110 §5.5), a tab as little as a space; what goes on is our own `chunked`.',
    is: ({ framing, tabBehindCoding }) => framing === 'chunked' && tabBehindCoding,
  },
  'framing field as a trailer': {
    why: 'A trailer cannot frame any more (RFC 9110 §6.5.1). It is taken out; Node refuses the request.',
    is: ({ trailers }) => trailers.some(([name]) => /^(?:content-length|transfer-encoding)$/.test(name)),
  },
}

/** Null: both agree, or the difference is listed; else what it is. */
export function unlisted(ours: Reading, node: NodeReading): string | null {
  const { requests, faults } = ours
  for (const [i, request] of requests.entries()) {
    const theirs = node.requests[i]
    if (theirs === undefined) {
      const listed = Object.values(laxer).some(({ is }) => is(request, requests[i - 1]))
      return listed ? null : `Node refuses request ${i} with ${node.fault}`
    }
    const same =
      theirs.method === request.method && theirs.url === request.rawTarget && theirs.body === request.body
    if (!same)
      return `Node reads request ${i} as ${theirs.method} ${theirs.url} with ${JSON.stringify(theirs.body)}`
  }
  if (node.requests.length === requests.length) return null
  if (faults.length === 0) return ours.ended ? null : 'Node reads on'
  const more = faults.filter(fault => !(fault in stricter))
  return more.length > 0 ? `Node takes: ${more.join(', ')}` : null
}

function asksToUpgrade({ fields }: SeenRequest): boolean {
  const all = (name: string) => fields.filter(([key]) => key === name)
  return all('upgrade').length > 0 && all('connection').some(([, value]) => /upgrade/i.test(value))
}
