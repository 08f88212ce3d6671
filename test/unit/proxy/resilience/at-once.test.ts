import t from 'tap'
import { refusedAtOnce } from '../../../../lib/proxy/resilience/at-once.ts'
import { plainGuard } from '../../../../lib/proxy/resilience/guards.ts'
import { noLimits } from '../../../../lib/proxy/resilience/plain.ts'
import { RateLimit } from '../../../../lib/proxy/resilience/rate-limit.ts'
import { RateTable } from '../../../../lib/proxy/resilience/rate-table.ts'

const asked = (over: { length?: number; ip?: string; key?: string } = {}) => ({
  bodyLength: () => over.length ?? 0,
  clientIp: () => over.ip ?? '192.0.2.1',
  field: (name: string) => (name === 'x-key' ? over.key : undefined),
})
const nothing = {
  bodyLength: () => t.fail('nobody needs it'),
  clientIp: () => t.fail('nobody needs it'),
  field: () => t.fail('nobody needs it'),
}

t.test('without limits nothing is asked', async t => {
  t.equal(refusedAtOnce(plainGuard, nothing as never, 0), null)
})

t.test('the length first: who sends too much is not charged for it', async t => {
  const config = { requestsPerSecond: 1, burst: 1, header: 'x-key', clientsMax: 1_000 }
  const guard = {
    ...plainGuard,
    limits: { ...noLimits, requestBodyBytes: 10 },
    rate: new RateLimit(config, RateTable.create(1_000, new Uint8Array(16))),
  }
  t.match(refusedAtOnce(guard, asked({ length: 11, key: 'a' }), 1e12), {
    code: 'payload_too_large',
    fields: [],
  })
  t.equal(refusedAtOnce(guard, asked({ length: 10, key: 'a' }), 1e12), null)
  t.match(refusedAtOnce(guard, asked({ length: -1, key: 'a' }), 1e12), {
    code: 'rate_limited',
    fields: [['Retry-After', '1'], ['RateLimit-Policy'], ['RateLimit']],
  })
  t.equal(refusedAtOnce(guard, asked({ key: 'b' }), 1e12), null)
  t.equal(refusedAtOnce(guard, asked({ ip: '192.0.2.7' }), 1e12), null)
})
