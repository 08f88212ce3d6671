/** What holds for a cluster of which the configuration says nothing: today's retries, no limits. @pure */
import type { LimitsConfig, ResilienceConfig } from '../../config/config.ts'
import { ordinaryRetries } from '../retry.ts'

export const noLimits: LimitsConfig = Object.freeze({
  requests: 0,
  requestsPerMember: 0,
  connections: 0,
  pending: 1000,
  queueTimeoutMs: 5_000,
  requestBodyBytes: 0,
})

export const plainResilience: ResilienceConfig = Object.freeze({
  retries: ordinaryRetries,
  hedge: null,
  limits: noLimits,
  rateLimit: null,
})
