/** The log: one JSON line a record on standard error, through pino. The only importing file of `pino`. */
import { destination, type Logger, pino } from 'pino'

export type Log = Logger
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent'

/** A logger that writes JSON lines to standard error, so that standard output stays free for answers. */
export function createLog(level: LogLevel = 'info'): Log {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination(2))
}

export const silentLog: Log = pino({ level: 'silent' })
