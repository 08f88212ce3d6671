/**
 * One line of the access log: JSON, built by adding texts. @pure
 * Only what strangers wrote is tested for characters that JSON escapes; what we wrote (ids, codes) cannot have any.
 * Lengths are bounded, so a line is too.
 */
import type { AccessLogConfig } from '../../config/config.ts'
import type { ExchangeRecord } from './exchange-record.ts'
import { boundedJsonText, millisText } from './json-text.ts'

const clientCharsMax = 64
const methodCharsMax = 32
const hostCharsMax = 262
export const targetCharsMax = 2_048
const fieldCharsMax = 512
/** Every character of a stranger's may become six; ours have room to spare. */
export const lineCharsMax =
  6 * (clientCharsMax + methodCharsMax + hostCharsMax + targetCharsMax + 2 * fieldCharsMax) + 1_024

export type LineOptions = Pick<AccessLogConfig, 'query' | 'userAgent' | 'referer'>

/** ASCII, ends with a line feed. `time`: the text of the record's start. */
export function accessLine(record: ExchangeRecord, time: string, options: LineOptions): string {
  const { startMs, headMs, error, cluster, backend, tls, trace } = record
  let line = `{"time":"${time}","duration_ms":${millisText(record.endMs - startMs)},"head_ms":`
  line += headMs === 0 ? 'null' : millisText(headMs - startMs)
  line += `,"client":"${boundedJsonText(record.client, clientCharsMax)}","method":"${boundedJsonText(record.method, methodCharsMax)}","host":"`
  line += boundedJsonText(record.host, hostCharsMax)
  line += `","target":"${boundedJsonText(shown(record.target, options), targetCharsMax)}","status":`
  line += `${record.status},"bytes_in":${record.bytesIn},"bytes_out":${record.bytesOut},"cluster":${named(cluster)}`
  line += `,"backend":${named(backend)},"attempts":${record.attempts},"ending":"${record.ending}","error":${named(error)}`
  line += `,"protocol":"${record.protocol}","tls":${named(tls)},"trace_id":${named(trace === null ? null : trace.traceId)}`
  if (options.userAgent) line += `,"user_agent":${quoted(record.userAgent)}`
  if (options.referer)
    line += `,"referer":${quoted(record.referer === null ? null : shown(record.referer, options))}`
  return `${line}}\n`
}

/** With or without what follows the question mark. */
function shown(target: string, options: LineOptions): string {
  if (options.query === 'keep') return target
  const mark = target.indexOf('?')
  return mark === -1 ? target : target.slice(0, mark)
}

/** A name of ours. */
const named = (text: string | null) => (text === null ? 'null' : `"${text}"`)

/** A field of the client's. */
const quoted = (text: string | null) => (text === null ? 'null' : `"${boundedJsonText(text, fieldCharsMax)}"`)
