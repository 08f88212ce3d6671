/** How a test's backends leave: by the defaults of the configuration, but for what the test says. */
import type { DrainConfig } from '../../lib/config/config.ts'

export const drainPolicy = (over: Partial<DrainConfig> = {}): DrainConfig => ({
  gracePeriodMs: 30_000,
  waitForConnections: true,
  sessions: 'repin',
  tunnels: 'close',
  closeCode: 1001,
  closeSpreadMs: 0,
  ...over,
})
