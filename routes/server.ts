/**
 * The admin server: serves the endpoints, guards them against foreign pages, renders every error in one shape.
 * The only importing file of `fastify`. It decides nothing: endpoints parse into commands, `control` carries them out.
 */
import {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
} from 'fastify'
import { type Clock, systemClock } from '../lib/clock.ts'
import { errorBody, TidegateError } from '../lib/errors.ts'
import type { Log } from '../lib/log.ts'
import { strict } from '../lib/schema.ts'
import { formatAddress } from '../lib/units.ts'
import { endpoints } from './api.ts'
import { accept, type Endpoint } from './endpoint.ts'
import { EventStream } from './events.ts'
import { guardHost, guardOrigin } from './guard.ts'
import type { ControlPort } from './ports.ts'

export interface AdminOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  readonly log: Log
  readonly clock?: Clock
  /** Bytes a listener to events may be behind before it is closed. */
  readonly eventBytesMax?: number
}

export interface AdminServer {
  readonly address: { readonly host: string; readonly port: number }
  /** Stops accepting, gives what waits a second, then cuts it. Idempotent. */
  close(): Promise<void>
}

const bodyBytesMax = 64 * 1024
const connectionsMax = 512
const receiveTimeoutMs = 30_000
const closeGraceMs = 1000

/** Rejects with `port_in_use`. */
export async function createAdminServer(control: ControlPort, options: AdminOptions): Promise<AdminServer> {
  const clock = options.clock ?? systemClock
  const events = new EventStream(control, {
    host: options.host,
    clock,
    ...(options.eventBytesMax === undefined ? {} : { bufferedBytesMax: options.eventBytesMax }),
  })
  const app = createApp(control, options)
  app.server.on('upgrade', (request, socket, head) => events.upgrade(request, socket, head))
  app.server.maxConnections = connectionsMax
  try {
    await app.listen({ host: options.host, port: options.port })
  } catch (error) {
    await events.close()
    await app.close()
    throw listenError(error as NodeJS.ErrnoException, options)
  }
  let closing: Promise<void> | null = null
  const close = async () => {
    const cancel = clock.after(closeGraceMs, () => app.server.closeAllConnections())
    await Promise.all([events.close(), app.close()])
    cancel()
  }
  const bound = app.server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : options.port
  return {
    address: { host: options.host, port },
    close: () => {
      closing ??= close()
      return closing
    },
  }
}

function createApp(control: ControlPort, options: AdminOptions): FastifyInstance {
  const app = fastify({
    logger: false,
    bodyLimit: bodyBytesMax,
    requestTimeout: receiveTimeoutMs,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    routerOptions: { maxParamLength: 256 },
    // No route has a schema of its kind, and loading its compilers takes longer than all else here.
    schemaController: { compilersFactory: { buildValidator: noSchemas, buildSerializer: noSchemas } },
    frameworkErrors: (error, _request, reply) => {
      const known = asTidegateError(error)
      // Its type knows no statuses of ours before a route is found.
      const plain = reply as unknown as FastifyReply
      plain.code(known.status).send(errorBody(known))
    },
    http: { shouldUpgradeCallback: request => request.headers.upgrade?.toLowerCase() === 'websocket' },
  })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => {
    try {
      done(null, body === '' ? undefined : JSON.parse(String(body)))
    } catch (error) {
      done(new TidegateError('invalid_request', `The body is not JSON: ${(error as Error).message}.`))
    }
  })
  app.addHook('onRequest', async (request, reply) => {
    reply.headers({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
    guardHost(request.headers, options.host)
    if (request.method !== 'GET' && request.method !== 'HEAD') guardOrigin(request.headers)
  })
  for (const endpoint of endpoints) serve(app, endpoint, control)
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?')[0] ?? ''
    const methods = endpoints.filter(one => matches(one.path, path)).map(one => one.method)
    if (methods.length === 0)
      throw new TidegateError(
        'unknown_endpoint',
        `There is no ${path.slice(0, 200)}; /openapi.json lists what there is.`,
      )
    reply.header('allow', methods.join(', '))
    throw new TidegateError(
      'method_not_allowed',
      `${request.method} is not for ${path.slice(0, 200)}; use ${methods.join(' or ')}.`,
    )
  })
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const known = asTidegateError(error)
    if (known.status >= 500)
      options.log.error({ err: error, method: request.method, path: request.url }, 'admin request failed')
    reply.code(known.status).send(errorBody(known))
  })
  return app
}

function noSchemas(): never {
  throw new Error('endpoints check what they are given by themselves')
}

function serve(app: FastifyInstance, one: Endpoint, control: ControlPort): void {
  const query = one.query ?? strict({})
  const body = one.body ?? strict({}).optional()
  const bodyRequired = !body.safeParse(undefined).success
  app.route({
    method: one.method,
    url: one.path.replace(/\{(\w+)\}/g, ':$1'),
    handler: async (request, reply) => {
      if (bodyRequired && request.body === undefined)
        throw new TidegateError(
          'invalid_request',
          'The body is missing; send JSON with Content-Type: application/json.',
        )
      const asked = {
        params: request.params as Record<string, string>,
        query: accept(query, { ...(request.query as object) }, 'query'),
        body: one.method === 'GET' ? undefined : accept(body, request.body, 'body'),
        actor: actorOf(request),
      }
      const answer = await one.handle(asked, control)
      reply.code(answer.status).headers(answer.headers ?? {})
      return answer.body === undefined ? reply.send() : answer.body
    },
  })
}

/** Without authentication a caller can only say what it is; the history records it as such. */
const actorOf = (request: FastifyRequest): string =>
  request.headers['user-agent']?.startsWith('tidegate-cli/') ? 'cli' : 'api'

function matches(pattern: string, path: string): boolean {
  const wanted = pattern.split('/')
  const given = path.split('/')
  return (
    wanted.length === given.length && wanted.every((part, i) => part.startsWith('{') || part === given[i])
  )
}

/** What fastify itself refuses, in the words of the error table. */
function asTidegateError(error: unknown): TidegateError {
  if (error instanceof TidegateError) return error
  const { code, statusCode, message } = error as FastifyError
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE')
    return new TidegateError('payload_too_large', `The body is larger than ${bodyBytesMax} bytes.`)
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE')
    return new TidegateError('unsupported_media_type', 'Send JSON with Content-Type: application/json.')
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500)
    return new TidegateError('invalid_request', message)
  return new TidegateError('internal', 'Tidegate failed to answer; its log says why.', { cause: error })
}

function listenError(error: NodeJS.ErrnoException, { host, port }: AdminOptions): TidegateError {
  const where = formatAddress(host, port)
  if (error.code === 'EADDRINUSE')
    return new TidegateError(
      'port_in_use',
      `The admin address ${where} is in use; stop what listens there or change admin.address.`,
    )
  return new TidegateError('port_in_use', `The admin address ${where} cannot be used: ${error.message}.`, {
    cause: error,
  })
}
