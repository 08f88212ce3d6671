/** What every kind of check promises, against real small servers. */
import t, { type Test } from 'tap'
import { type ProbeTarget, probeOnce } from '../../../lib/cluster/prober.ts'
import type { HealthConfig } from '../../../lib/config/config.ts'
import { healthConfig } from '../../support/health-config.ts'
import { grpcHealth, nobody, tcp, web } from '../../support/health-servers.ts'
import { type SelfSigned, selfSigned } from '../../support/self-signed.ts'
import { until } from '../../support/wait.ts'

/** A server that is well, by kind. */
const well: Readonly<Record<HealthConfig['type'], (t: Test, pair?: SelfSigned) => Promise<ProbeTarget>>> = {
  http: (t, pair) => web(t, (_, response) => response.end('fine'), pair),
  tcp: (t, pair) => tcp(t, () => undefined, pair),
  grpc: (t, pair) => grpcHealth(t, () => ({ status: 1 }), pair),
}
/** Who accepts and says nothing is well for a check that wants no more than that. */
const wantsAnAnswer = (type: HealthConfig['type']) => type !== 'tcp'

const pair = selfSigned()
const trusting = { ca: pair.cert, servername: '' }

for (const type of ['http', 'tcp', 'grpc'] as const) {
  const config = healthConfig({ type, timeoutMs: 5000 })

  t.test(`${type}: a server that is well`, async t => {
    t.match(await probeOnce(await well[type](t), config), { ok: true, says: 'ready', reason: /./ })
  })

  t.test(`${type}: nobody listens`, async t => {
    t.strictSame(await probeOnce(await nobody(), config), { ok: false, reason: 'connect ECONNREFUSED' })
    const { port } = await nobody()
    t.match(await probeOnce({ host: 'localhost', port }, config), { ok: false, reason: /ECONNREFUSED/ })
  })

  t.test(`${type}: silence is told from a refusal`, async t => {
    const deaf = await tcp(t, socket => socket.pause())
    const impatient = { ...config, timeoutMs: 40 }
    if (wantsAnAnswer(type))
      t.strictSame(await probeOnce(deaf, impatient), {
        ok: false,
        reason: 'no answer within 40ms',
        silent: true,
      })
    const overTls = await probeOnce({ ...deaf, tls: trusting }, impatient)
    t.strictSame(
      overTls,
      { ok: false, reason: 'no answer within 40ms', silent: true },
      'a handshake that never ends',
    )
  })

  t.test(
    `${type}: a connection that ends at once is silence, as a busy machine's network ends it`,
    async t => {
      const closes = await tcp(t, socket => socket.end())
      const resets = await tcp(t, socket => socket.resetAndDestroy())
      const mute = { ok: false, reason: /closed/, silent: true }
      if (wantsAnAnswer(type)) {
        t.match(await probeOnce(closes, config), mute)
        t.match(await probeOnce(resets, config), mute)
      }
      t.match(await probeOnce({ ...closes, tls: trusting }, config), mute, 'in the handshake')
      t.match(await probeOnce({ ...resets, tls: trusting }, config), mute, 'in the handshake')
    },
  )

  t.test(`${type}: over TLS, who is trusted passes and who is not does not`, async t => {
    const target = await well[type](t, pair)
    t.match(await probeOnce({ ...target, tls: trusting }, config), { ok: true })
    t.match(await probeOnce({ ...target, tls: { servername: '' } }, config), {
      ok: false,
      reason: /^TLS failed/,
    })
    const plain = await well[type](t)
    t.match(await probeOnce({ ...plain, tls: trusting }, { ...config, timeoutMs: 300 }), { ok: false })
  })

  t.test(`${type}: what cannot even be asked fails and does not throw`, async t => {
    const impossible = await probeOnce({ host: '127.0.0.1', port: 70_000 }, config)
    t.match(impossible, { ok: false, reason: /cannot ask/ })
    t.notOk(impossible.silent)
  })

  t.test(`${type}: a signal ends it, before and in the middle, and the connection with it`, async t => {
    let open = 0
    let closed = 0
    const deaf = await tcp(t, socket => {
      open++
      socket.resume()
      socket.on('close', () => closed++)
    })
    // The handshake keeps every kind waiting.
    const target = { ...deaf, tls: trusting }
    t.strictSame(await probeOnce(target, config, AbortSignal.abort()), {
      ok: false,
      reason: 'check cancelled',
    })
    const abort = new AbortController()
    const verdict = probeOnce(target, config, abort.signal)
    await until('connected', () => open === 1)
    abort.abort()
    t.strictSame(await verdict, { ok: false, reason: 'check cancelled' })
    await until('let go', () => closed === 1)
  })

  t.test(`${type}: each check lets go of its connection`, async t => {
    const target = await well[type](t)
    const before = process.getActiveResourcesInfo().filter(name => /TCP.*Wrap/.test(name)).length
    for (let i = 0; i < 5; i++) await probeOnce(target, config)
    await until(
      'no socket is left',
      () => process.getActiveResourcesInfo().filter(name => /TCP.*Wrap/.test(name)).length <= before,
    )
  })
}
