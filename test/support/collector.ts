/** A small collector of spans on a real port: keeps what it was sent, answers what the test says. */
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { Test } from 'tap'

export interface OtlpSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly traceState?: string
  readonly flags: number
  readonly name: string
  readonly kind: number
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes: readonly { readonly key: string; readonly value: Record<string, string> }[]
  readonly status: { readonly code?: number }
}

export class Collector {
  readonly requests: {
    readonly url: string
    readonly headers: IncomingHttpHeaders
    readonly body: string
  }[] = []
  /** The status of the next answers; null: none at all. */
  status: number | null = 200
  readonly server: Server

  constructor() {
    this.server = createServer(async (request, response) => {
      const body = await text(request)
      this.requests.push({ url: request.url ?? '', headers: request.headers, body })
      if (this.status === null) return
      response.writeHead(this.status, { 'content-type': 'application/json' })
      response.end('{}')
    })
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/v1/traces`
  }

  spans(): readonly OtlpSpan[] {
    return this.requests.flatMap(({ body }) =>
      JSON.parse(body).resourceSpans.flatMap((one: { scopeSpans: { spans: OtlpSpan[] }[] }) =>
        one.scopeSpans.flatMap(({ spans }) => spans),
      ),
    )
  }
}

export async function collector(t: Test): Promise<Collector> {
  const one = new Collector()
  await new Promise<void>(resolve => one.server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    one.server.closeAllConnections()
    one.server.close()
  })
  return one
}

/** A span's attributes as one object; numbers are text, as they are sent. */
export const attributesOf = (span: OtlpSpan): Record<string, string> =>
  Object.fromEntries(span.attributes.map(({ key, value }) => [key, Object.values(value)[0]!]))
