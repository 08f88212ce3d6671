/** Small servers to be checked: well ones of each kind, and ill ones of many. All end with the test. */
import { createServer as createHttpServer, type RequestListener } from 'node:http'
import {
  createServer as createHttp2Server,
  createSecureServer,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import type { Test } from 'tap'
import type { ProbeTarget } from '../../lib/cluster/prober.ts'
import type { SelfSigned } from './self-signed.ts'

export async function listen(t: Test, server: Server): Promise<ProbeTarget> {
  const sockets = new Set<Socket>()
  for (const event of ['connection', 'secureConnection'])
    server.on(event, (socket: Socket) => {
      sockets.add(socket)
      socket.on('error', () => undefined)
    })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    return new Promise(resolve => server.close(resolve))
  })
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port }
}

export const web = (t: Test, handler: RequestListener, pair?: SelfSigned) =>
  listen(t, pair ? createHttpsServer(pair, handler) : createHttpServer(handler))

export const tcp = (t: Test, handler: (socket: Socket) => void, pair?: SelfSigned) =>
  listen(t, pair ? createTlsServer(pair, handler) : createTcpServer(handler))

/** An HTTP/2 server that answers each stream as `handler` says. */
export function http2(
  t: Test,
  handler: (stream: ServerHttp2Stream, headers: Record<string, unknown>) => void,
  pair?: SelfSigned,
): Promise<ProbeTarget> {
  const server = pair ? createSecureServer(pair) : createHttp2Server()
  server.on('stream', (stream: ServerHttp2Stream, headers: Record<string, unknown>) => {
    stream.on('error', () => undefined)
    handler(stream, headers)
  })
  server.on('session', (session: ServerHttp2Session) => session.on('error', () => undefined))
  server.on('sessionError', () => undefined)
  return listen(t, server as unknown as Server)
}

/** A port where nobody listens. */
export async function nobody(): Promise<ProbeTarget> {
  const server = createTcpServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  return { host: '127.0.0.1', port }
}

export interface GrpcAnswer {
  /** 0 UNKNOWN · 1 SERVING · 2 NOT_SERVING; null: no message. */
  readonly status?: number | null
  readonly grpcStatus?: number
  readonly headers?: Readonly<Record<string, string>>
  /** Instead of the framed message. */
  readonly body?: Buffer
}

/** A gRPC server of one service, `Health`; `answer` is told the service that was asked after. */
export const grpcHealth = (t: Test, answer: (service: string) => GrpcAnswer, pair?: SelfSigned) =>
  http2(
    t,
    (stream, headers) => {
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => {
        // The frame, then field 1 with its length, if there is one.
        const service = Buffer.concat(chunks)
          .subarray(5 + 2)
          .toString('latin1')
        const known = headers[':path'] === '/grpc.health.v1.Health/Check'
        const { status = 1, grpcStatus = 0, headers: more = {}, body } = known ? answer(service) : {}
        if (!known || (status === null && !body))
          return stream.respond(
            {
              ':status': 200,
              'content-type': 'application/grpc',
              'grpc-status': known ? grpcStatus : 12,
              ...more,
            },
            { endStream: true },
          )
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': String(grpcStatus) }))
        stream.respond(
          { ':status': 200, 'content-type': 'application/grpc', ...more },
          { waitForTrailers: true },
        )
        stream.end(body ?? message(status ?? 0))
      })
    },
    pair,
  )

/** A framed HealthCheckResponse; the zero value is left out, as protobuf does. */
const message = (status: number) =>
  status === 0 ? Buffer.from([0, 0, 0, 0, 0]) : Buffer.from([0, 0, 0, 0, 2, 8, status])
