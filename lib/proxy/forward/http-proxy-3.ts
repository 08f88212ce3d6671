/**
 * The engine on `http-proxy-3`, and the only importer of it. The library connects, sends the head and pipes upgraded sockets; its
 * habits that lose, leak or smuggle are kept away from it:
 *
 * - It never sees the client's request or response, only a `WebCall` or `UpgradeCall` that looks like one. So it cannot
 *   normalise or reject a path, copy `Connection`, or throw at an odd target. The passes that rewrite framing are removed.
 * - It "pipes the request" by calling our `pipe`, which waits for the connection before it reads a byte of the body.
 * - It answers nobody: the response goes through the exchange, with back-pressure, and an upstream that dies is noticed.
 * - Its fetch path, which loses cookies and follows redirects, cannot be switched on by the environment.
 */
import { strict as assert } from 'node:assert'
import type { Agent, ClientRequest, IncomingMessage, ServerResponse } from 'node:http'
import { createProxyServer, type ProxyServer, type ServerOptions } from 'http-proxy-3'
import type { Member } from '../../cluster/member.ts'
import { Deadlines } from '../deadlines.ts'
import type { Forward, ForwardDeps, ForwardEvents, ForwardRequest, TunnelEnd } from './forward.ts'
import { type EngineCall, UpgradeCall, WebCall } from './http-proxy-3-call.ts'
import { Pools } from './pools.ts'

interface MemberOptions {
  readonly pooled: ServerOptions
  readonly fresh: ServerOptions
}

export function createHttpProxy3(deps: ForwardDeps): Forward {
  // The library looks at this variable for every request; there is no option against it.
  delete process.env.FORCE_FETCH_PATH
  const proxy = withoutRewriting(createProxyServer({}))
  const deadlines = new Deadlines(deps.clock)
  const pools = new Pools(memberOptions, deps.tls)
  listen(proxy)

  return {
    name: 'http-proxy-3',
    send(request: ForwardRequest, events: ForwardEvents) {
      const call = new WebCall(request, events, deadlines)
      const { pooled, fresh } = pools.of(request.member)
      try {
        proxy.web(asRequest(call), nobody, request.fresh ? fresh : pooled, onError)
      } catch (error) {
        call.onError(error)
      }
      return call
    },
    upgrade(request: ForwardRequest, client: TunnelEnd, events: ForwardEvents) {
      const call = new UpgradeCall(request, events, deadlines, client, deps.clock)
      try {
        proxy.ws(asRequest(call), client, noHead, pools.of(request.member).fresh, onError)
        call.takeOver()
      } catch (error) {
        call.onError(error)
      }
      return call
    },
    forget: member => pools.forget(member),
    close: () => pools.close(),
  }
}

/**
 * Of the library's passes over a web request only the one that sends is kept. `deleteLength` replaces the framing of DELETE and OPTIONS
 * while the body is still sent, which makes the body the next request (CVE-2026-29057).
 */
function withoutRewriting(proxy: ProxyServer): ProxyServer {
  const inside = proxy as unknown as { webPasses: { readonly name: string }[] }
  inside.webPasses = inside.webPasses.filter(pass => pass.name === 'stream')
  assert(inside.webPasses.length === 1, 'http-proxy-3 has changed: its passes must be read again')
  return proxy
}

function memberOptions(member: Member, agent: Agent, fresh: Agent): MemberOptions {
  const common = {
    target: { host: member.host, port: member.port },
    // The library neither parses the path (`toProxy`) nor writes the response.
    toProxy: true,
    selfHandleResponse: true,
  }
  return { pooled: { ...common, agent }, fresh: { ...common, agent: fresh } }
}

function listen(proxy: ProxyServer): void {
  proxy.on('proxyRes', (response: IncomingMessage, call: unknown) => (call as WebCall).onResponse(response))
  proxy.on('proxyReqWs', (upstream: ClientRequest, call: unknown) => (call as UpgradeCall).begin(upstream))
  // Without a second listener the library throws what it reports.
  proxy.on('error', () => {})
}

const onError = (error: Error, call: unknown) => (call as EngineCall).onError(error)

const asRequest = (call: EngineCall) => call as unknown as IncomingMessage

/** What the library takes for the client's response: already answered, never closing. */
const nobody = { finished: true, headersSent: true, on: () => nobody } as unknown as ServerResponse

const noHead = Buffer.alloc(0)
