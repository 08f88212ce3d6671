/** How clients leave: the keys of `clusters[].drain` and of `shutdown`. @pure */
import { refuse, show, strict, z } from '../schema.ts'
import type { CloseCode, DrainConfig, ShutdownConfig } from './config.ts'
import { choice, duration, whole } from './fields.ts'

const hourMs = 3_600_000
export const sessionsWords = ['keep', 'repin', 'cut'] as const
export const tunnelsWords = ['keep', 'close', 'cut'] as const
export const closeCodes = [1001, 1012] as const

const closeCode = z.unknown().transform((value, ctx): CloseCode => {
  const known = closeCodes.find(code => code === value)
  return known ?? refuse(ctx, `${show(value)} is not a close code of a drain`, 'one of 1001, 1012')
})

export const drain = strict({
  grace_period_seconds: whole(0, 86_400, 'grace_period_seconds').prefault(30),
  wait_for_connections: z.boolean().default(true),
  notify_clients: z.boolean().optional(),
  sessions: choice(sessionsWords).prefault('repin'),
  tunnels: choice(tunnelsWords).optional(),
  close_code: closeCode.prefault(1001),
  close_spread_seconds: whole(0, 86_400, 'close_spread_seconds').prefault(0),
}).transform((value, ctx): DrainConfig => {
  const { grace_period_seconds: grace, close_spread_seconds: spread, notify_clients: notify } = value
  if (value.tunnels !== undefined && notify !== undefined && notify !== (value.tunnels === 'close'))
    refuse(
      ctx,
      `\`notify_clients: ${notify}\` and \`tunnels: ${value.tunnels}\` contradict each other`,
      'keep `tunnels` and remove `notify_clients`',
      ['notify_clients'],
    )
  if (spread > grace)
    refuse(
      ctx,
      `\`${spread}\` is longer than the grace period of ${grace} seconds, whose last part it is`,
      'at most grace_period_seconds',
      ['close_spread_seconds'],
    )
  return {
    gracePeriodMs: grace * 1000,
    waitForConnections: value.wait_for_connections,
    sessions: value.sessions,
    tunnels: value.tunnels ?? (notify === false ? 'cut' : 'close'),
    closeCode: value.close_code,
    closeSpreadMs: spread * 1000,
  }
})

export const shutdownGrace = duration(0, hourMs)

export const shutdown = strict({
  grace: shutdownGrace.optional(),
  tunnels: choice(tunnelsWords).prefault('close'),
  close_code: closeCode.prefault(1001),
  close_spread: duration(0, hourMs).optional(),
})

const graceMsDefault = 30_000

/** `shutdown` with the older `shutdown_grace` beside it; a rule refuses both at once. */
export function shutdownOf(
  value: z.output<typeof shutdown>,
  shutdownGraceMs: number | undefined,
): ShutdownConfig {
  const graceMs = value.grace ?? shutdownGraceMs ?? graceMsDefault
  return {
    graceMs,
    tunnels: value.tunnels,
    closeCode: value.close_code,
    // Without a word of it the whole grace period: clients that are told together come back together.
    closeSpreadMs: Math.min(value.close_spread ?? graceMs, graceMs),
  }
}
