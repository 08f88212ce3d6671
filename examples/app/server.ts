/**
 * The demo application: a small web service that keeps sessions in memory, which is what a restart or a cold copy loses and
 * a Tidegate clone keeps. All it knows of Tidegate is one call of the guest library; without Tidegate it runs the same.
 *
 *   PORT=3000 node examples/app/server.ts
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { cpus, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { type GuestResources, guest } from '../../lib/guest/index.ts'
import { readBody } from './body.ts'
import { Files } from './files.ts'
import { machineFacts } from './machine.ts'
import { page } from './page.ts'
import { Sessions } from './sessions.ts'
import { answerBytes, answerEcho, answerRandom, answerSlow } from './toys.ts'
import { serveWebSockets, type WebSockets } from './web-sockets.ts'

const startedAt = new Date().toISOString()
const sessions = new Sessions()
const files = new Files(process.env.FILES ?? join(tmpdir(), `tidegate-demo-${process.pid}`))
let me = { instance_id: `pid-${process.pid}`, incarnation: '' }
/** What it was last told that it may use; null: what it began with. */
let limits: GuestResources | null = null
/** Whose copy it is, as of when, and what it let go of because it is one. */
let copy: { readonly cloned_from: object | null; readonly dropped: number } = {
  cloned_from: null,
  dropped: 0,
}

let webSockets: WebSockets | null = null

// Before listening, so that a clone has its sessions back before anybody asks for them.
guest({
  handOver: () => sessions.save(),
  takeBack: state => sessions.restore(state),
  identified: identity => {
    me = { instance_id: identity.instanceId, incarnation: identity.incarnation }
    if (identity.reason === 'created') return
    // Its connections are in its memory, and are its source's: it has no other end to them. Nor are there jobs or leases here.
    const { clonedFrom } = identity
    const source = clonedFrom ? { instance_id: clonedFrom.instanceId, at: clonedFrom.at.toISOString() } : null
    copy = { cloned_from: source, dropped: webSockets?.drop() ?? 0 }
  },
  resized: resources => {
    limits = resources
  },
})

const server = createServer((request, response) => {
  answer(request, response).catch(error => {
    if (response.headersSent) return response.destroy()
    // A RangeError is a body over its bound, a TypeError a target that is no URL.
    const status = error instanceof RangeError ? 413 : error instanceof TypeError ? 400 : 500
    return json(response, status, { error: error instanceof Error ? error.message : String(error) })
  })
})
// Longer than anybody in front keeps a connection that is idle: by itself Node closes it after five seconds, unread requests and all.
server.keepAliveTimeout = 120_000
webSockets = serveWebSockets(server, () => me)
server.listen(Number(process.env.PORT ?? 3000), process.env.HOST ?? '0.0.0.0')
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, stop)

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://app')
  const session = /^\/sessions\/([\w.~-]{1,128})$/.exec(url.pathname)?.[1]
  const file = /^\/files\/([\w.~-]{1,128})$/.exec(url.pathname)?.[1]
  const path = session !== undefined ? '/sessions/{id}' : file !== undefined ? '/files/{id}' : url.pathname
  const key = `${request.method} ${path}`
  switch (key) {
    case 'GET /':
      return answerPage(request, response)
    case 'POST /sessions/{id}':
      sessions.put(session!, (await readBody(request)).toString('utf8'))
      return json(response, 200, { stored: session, instance: me.instance_id })
    case 'GET /sessions/{id}': {
      const value = sessions.get(session!)
      if (value === undefined)
        return json(response, 404, { error: `no session ${session}`, instance: me.instance_id })
      return json(response, 200, { value, instance: me.instance_id })
    }
    case 'POST /files/{id}':
      return json(response, 200, await files.put(file!, await readBody(request)))
    case 'GET /files/{id}': {
      const value = await files.get(file!)
      if (value === null) return json(response, 404, { error: `no file ${file}`, instance: me.instance_id })
      return json(response, 200, { value, instance: me.instance_id })
    }
    case 'GET /count':
      return json(response, 200, { count: sessions.count, instance: me.instance_id })
    case 'GET /healthz':
      return json(response, 200, { ok: true })
    case 'GET /whoami':
      return json(response, 200, {
        ...me,
        pid: process.pid,
        started_at: startedAt,
        cpus: cpus().length,
        memory_bytes: totalmem(),
        limits,
        ...copy,
        ...machineFacts(),
      })
    case 'GET /random':
      return answerRandom(response)
    case 'GET /slow':
      return answerSlow(url, response)
    case 'GET /bytes':
      return answerBytes(url, response)
    case 'POST /echo':
      return answerEcho(request, response)
    default:
      return json(response, 404, { error: `${request.method} ${url.pathname}: there is no such thing here` })
  }
}

/** Visits are counted in memory for a cookie of the application's own, whatever the front door's affinity is. */
function answerPage(request: IncomingMessage, response: ServerResponse): void {
  const known = /(?:^|;\s*)sid=([\w-]{1,64})(?:;|$)/.exec(request.headers.cookie ?? '')?.[1]
  const visitor = sessions.visit(known)
  const facts = { ...me, ...visitor, sessions: sessions.count, started_at: startedAt }
  response.setHeader('set-cookie', `sid=${visitor.sid}; Path=/; HttpOnly; SameSite=Lax`)
  response.setHeader('cache-control', 'no-store')
  if (!request.headers.accept?.includes('text/html')) return json(response, 200, facts)
  const body = Buffer.from(page(facts))
  response
    .writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'content-length': body.length })
    .end(body)
}

function json(response: ServerResponse, status: number, value: unknown): void {
  const body = Buffer.from(`${JSON.stringify(value)}\n`)
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': body.length }).end(body)
}

/** Finishes what is under way. Tidegate has drained us by now, so there is seldom anything. */
function stop(): void {
  webSockets?.close()
  server.close(() => process.exit(0))
  server.closeIdleConnections()
  setTimeout(() => process.exit(0), 2_000).unref()
}
