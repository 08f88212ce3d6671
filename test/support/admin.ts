/** An admin server on a free port with a fake control behind it, and a plain HTTP client for it. */
import { type IncomingHttpHeaders, request } from 'node:http'
import type { Clock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { createAdminServer } from '../../routes/server.ts'
import { FakeControl } from './fake-control.ts'

export interface Answered {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  // Tests look into bodies by the shapes that they expect.
  // biome-ignore lint/suspicious/noExplicitAny: an answer's shape is what is under test
  readonly body: any
}

/** A test, as far as it is needed here. */
interface Cleanup {
  teardown(fn: () => unknown): void
}

export interface Asking {
  readonly method?: string
  readonly headers?: Record<string, string>
  /** An object is sent as JSON; text as it is. */
  readonly body?: unknown
}

export async function startAdmin(t: Cleanup, options: { clock?: Clock; eventBytesMax?: number } = {}) {
  const control = new FakeControl()
  const server = await createAdminServer(control, { host: '127.0.0.1', port: 0, log: silentLog, ...options })
  t.teardown(() => server.close())
  const { port } = server.address
  return { control, server, port, url: `http://127.0.0.1:${port}`, ask: asker(port) }
}

export const asker =
  (port: number) =>
  (path: string, { method = 'GET', headers = {}, body }: Asking = {}): Promise<Answered> =>
    new Promise((resolve, reject) => {
      const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body)
      const json = text === undefined ? {} : { 'content-type': 'application/json' }
      const call = request(
        { host: '127.0.0.1', port, path, method, agent: false, headers: { ...json, ...headers } },
        response => {
          let received = ''
          response.setEncoding('utf8')
          response.on('data', chunk => {
            received += chunk
          })
          response.on('error', reject)
          response.on('end', () => {
            const isJson = response.headers['content-type']?.startsWith('application/json')
            const parsed = isJson && received !== '' ? JSON.parse(received) : null
            resolve({
              status: response.statusCode ?? 0,
              headers: response.headers,
              text: received,
              body: parsed,
            })
          })
        },
      )
      call.on('error', reject)
      call.end(text)
    })
