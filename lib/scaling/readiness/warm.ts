/**
 * Warms an instance that is to be saved: asks it what the configuration lists, one after another, as its first client would. What
 * code it loads, compiles and caches for that is then in every clone. Its health check, which changes nothing, is asked more than
 * once: an interpreter makes its notes at the first few runs of a function, and they should be in the memory that is cloned.
 */
import { request } from 'node:http'
import { request as requestTls } from 'node:https'
import { isIP } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import type { ProbeTarget } from '../../cluster/prober.ts'
import type { HealthConfig, WarmRequest } from '../../config/config.ts'
import { TidegateError } from '../../errors.ts'
import { limits } from '../limits.ts'
import type { World } from '../world.ts'

/** Throws `instance_unhealthy` at the first request that is not answered as expected, or the signal's reason. */
export async function warm(
  { clock }: Pick<World, 'clock'>,
  target: ProbeTarget,
  requests: readonly WarmRequest[],
  signal: AbortSignal,
): Promise<void> {
  for (const wanted of requests) {
    const late = new AbortController()
    const cancel = clock.after(limits.warmRequestMs, () => late.abort())
    const what = `warm request ${wanted.method} ${wanted.path}`
    try {
      const status = await ask(target, wanted, AbortSignal.any([signal, late.signal]))
      if (!wanted.expectStatus.some(({ from, to }) => status >= from && status <= to))
        throw failed(`${what} was answered with ${status}, which is not in expect_status`)
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof TidegateError) throw error
      if (late.signal.aborted) throw failed(`${what} was not answered within ${limits.warmRequestMs} ms`)
      throw failed(`${what} was not answered: ${error instanceof Error ? error.message : error}`)
    } finally {
      cancel()
    }
  }
}

/** Asks the health check so many times, whatever it says: that it is asked is the use of it. Throws the signal's reason only. */
export async function rehearse(
  { probe }: Pick<World, 'probe'>,
  target: ProbeTarget,
  health: HealthConfig,
  times: number,
  signal: AbortSignal,
): Promise<void> {
  for (let i = 0; i < times; i++) {
    await probe(target, health, signal)
    signal.throwIfAborted()
  }
}

/** The status, when the whole answer has come or as much of it as is read. */
function ask(
  { host, port, tls }: ProbeTarget,
  { method, path }: WarmRequest,
  signal: AbortSignal,
): Promise<number> {
  const headers = { 'user-agent': 'tidegate-warm', connection: 'close', 'content-length': '0' }
  const options = { host, port, method, path, headers, agent: false, signal } as const
  return new Promise((resolve, reject) => {
    const outgoing = tls ? requestTls({ ...secure(host, tls), ...options }) : request(options)
    outgoing.on('error', reject)
    outgoing.on('response', response => {
      const settle = () => resolve(response.statusCode ?? 0)
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes <= limits.warmAnswerBytesMax) return
        settle()
        outgoing.destroy()
      })
      response.on('end', settle)
      response.on('error', reject)
    })
    outgoing.end()
  })
}

const secure = (host: string, tls: ConnectionOptions): ConnectionOptions => ({
  servername: isIP(host) === 0 ? host : '',
  ...tls,
  ALPNProtocols: ['http/1.1'],
})

const failed = (message: string) => new TidegateError('instance_unhealthy', message)
