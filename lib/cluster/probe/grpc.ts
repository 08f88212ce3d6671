/**
 * The standard health check of gRPC, `grpc.health.v1.Health/Check`, as one HTTP/2 exchange on a connection of its own.
 * `SERVING` passes. Metadata of the answer may say more of the application, in the same header as over HTTP.
 */
import {
  type ClientHttp2Session,
  connect,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
} from 'node:http2'
import type { Verdict } from '../health.ts'
import { decodeResponse, encodeRequest } from './grpc-message.ts'
import type { Ask, ProbeConfig, ProbeTarget } from './probe.ts'
import { hostAndPort, selfReport, selfReportHeader, unanswered } from './words.ts'

const path = '/grpc.health.v1.Health/Check'
/** The message has two bytes; room for fields that a later version may add. */
const answerBytesMax = 4096

export const askGrpc: Ask = (target, config, end) => {
  const session = open(target)
  session.on('error', error => end(unanswered(error)))
  session.on('close', () => end(broken))
  ask(session, config, end)
  return () => session.destroy()
}

type Head = IncomingHttpHeaders & IncomingHttpStatusHeader

const broken: Verdict = {
  ok: false,
  reason: 'connection closed before the answer was complete',
  silent: true,
}

function open({ host, port, tls }: ProbeTarget): ClientHttp2Session {
  const limits = { settings: { enablePush: false }, maxSessionMemory: 1 }
  const authority = hostAndPort(host, port)
  if (!tls) return connect(`http://${authority}`, limits)
  return connect(`https://${authority}`, { ...tls, ALPNProtocols: ['h2'], ...limits })
}

function ask(session: ClientHttp2Session, config: ProbeConfig, end: (verdict: Verdict) => void): void {
  const stream = session.request({
    ':method': 'POST',
    ':path': path,
    ...(config.host === null ? {} : { ':authority': config.host }),
    'content-type': 'application/grpc',
    te: 'trailers',
    'user-agent': 'tidegate-health',
    'grpc-timeout': `${config.timeoutMs}m`,
  })
  let head: Head = {}
  let trailers: IncomingHttpHeaders = {}
  const chunks: Buffer[] = []
  let bytes = 0
  stream.on('response', headers => {
    head = headers
  })
  stream.on('trailers', headers => {
    trailers = headers
  })
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > answerBytesMax) end({ ok: false, reason: 'answered more than a health check may' })
    else chunks.push(chunk)
  })
  stream.on('end', () => end(verdictOf(head, trailers, Buffer.concat(chunks), config.service)))
  // A stream that ends with its session has the reason of that.
  stream.on('error', error => end(unanswered((error.cause as Error | undefined) ?? error)))
  stream.end(encodeRequest(config.service))
}

function verdictOf(head: Head, trailers: IncomingHttpHeaders, body: Buffer, service: string): Verdict {
  if (head[':status'] === undefined) return broken
  const status = head[':status']
  const type = String(head['content-type'] ?? '')
  if (status !== 200 || !type.startsWith('application/grpc'))
    return { ok: false, reason: `answered ${status}, which is not gRPC`, says: 'ready' }
  // An answer without a message has its status in the head.
  const code = String(trailers['grpc-status'] ?? head['grpc-status'] ?? '')
  if (code !== '0') return { ok: false, reason: refusal(code, service), says: 'ready' }
  const serving = decodeResponse(body)
  if (serving === null) return { ok: false, reason: 'answered something that is not a health status' }
  const { says, note } = selfReport(head[selfReportHeader])
  const word = says ?? 'ready'
  return { ok: word !== 'ready' || serving === 'SERVING', reason: `answered ${serving}${note}`, says: word }
}

function refusal(code: string, service: string): string {
  if (code === '5') return `does not know the service ${service || '(the whole server)'}`
  if (code === '12') return 'does not offer grpc.health.v1.Health'
  return /^\d{1,2}$/.test(code) ? `answered with gRPC status ${code}` : 'answered without a gRPC status'
}
