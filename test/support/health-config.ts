/** The checks that tests ask for: the defaults of the config, but no check is slow, however busy the machine. */
import type { HealthConfig } from '../../lib/config/config.ts'

export function healthConfig(over: Partial<HealthConfig> = {}): HealthConfig {
  return {
    type: 'http',
    path: '/',
    host: null,
    service: '',
    expectStatus: [{ from: 200, to: 399 }],
    degradedStatus: [],
    drainingStatus: [],
    intervalMs: 2000,
    timeoutMs: 1000,
    healthyThreshold: 2,
    unhealthyThreshold: 3,
    slowRatio: 0,
    degradedThreshold: 50,
    panicThreshold: 0,
    ...over,
  }
}
