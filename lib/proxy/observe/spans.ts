/**
 * Spans of one exchange as OTLP/JSON text: one of kind server for the exchange, one of kind client for each attempt. @pure
 * Attribute names are those of the OpenTelemetry semantic conventions for HTTP; our own begin with `tidegate.`.
 */
import type { OtlpConfig } from '../../config/config.ts'
import type { ExchangeRecord } from './exchange-record.ts'
import type { AttemptSpan, ExchangeTrace } from './exchange-trace.ts'
import { boundedJsonText, jsonText } from './json-text.ts'

const serverKind = 2
const clientKind = 3
const errorStatus = 2
/** Bits of a span's flags: that it is known, and that it is so, that the parent span is another program's. */
const remoteKnown = 0x100
const remote = 0x200
const textCharsMax = 1_024

/** The methods that a span may name; others are `_OTHER`, so that clients cannot invent names. */
const methods = new Set([
  ...['CONNECT', 'DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT', 'TRACE', 'QUERY'],
])

export interface SpanOptions extends Pick<OtlpConfig, 'query'> {
  /** Wall-clock milliseconds of a moment of the record's clock. */
  readonly wall: (atMs: number) => number
}

/** The spans, separated by commas. Only of a record whose trace is recorded. */
export function spansText(record: ExchangeRecord, trace: ExchangeTrace, options: SpanOptions): string {
  let text = serverSpan(record, trace, options)
  trace.attempts.forEach((attempt, resends) => {
    text += `,${clientSpan(record, trace, attempt, resends, options)}`
  })
  return text
}

/** How many `spansText` gives. */
export const spanCount = (trace: ExchangeTrace): number => 1 + trace.attempts.length

/** A whole request body around spans of any number of exchanges. */
export function requestText(serviceName: string, instanceId: string, spans: readonly string[]): string {
  const resource = attribute('service.name', serviceName) + attribute('service.instance.id', instanceId)
  return `{"resourceSpans":[{"resource":{"attributes":[${resource.slice(1)}]},"scopeSpans":[{"scope":{"name":"tidegate"},"spans":[${spans.join(',')}]}]}]}`
}

function serverSpan(record: ExchangeRecord, trace: ExchangeTrace, options: SpanOptions): string {
  const { host, port } = hostAndPort(record.host)
  const { path, query } = pathAndQuery(record.target)
  const method = methods.has(record.method) ? record.method : '_OTHER'
  let attributes = methodAttributes(record.method)
  attributes += attribute('url.scheme', record.tls === null ? 'http' : 'https') + attribute('url.path', path)
  if (query !== '' && options.query === 'keep') attributes += attribute('url.query', query)
  attributes += attribute('server.address', host)
  if (port !== null) attributes += numberAttribute('server.port', port)
  attributes += attribute('client.address', record.client) + protocolAttributes(record)
  if (record.route !== null) attributes += attribute('http.route', record.route)
  if (record.status > 0) attributes += numberAttribute('http.response.status_code', record.status)
  if (record.userAgent !== null) attributes += attribute('user_agent.original', record.userAgent)
  if (record.cluster !== null) attributes += attribute('tidegate.cluster', record.cluster)
  attributes += attribute('tidegate.ending', record.ending)
  const failure = record.error ?? (record.status >= 500 ? String(record.status) : null)
  if (failure !== null) attributes += attribute('error.type', failure)
  // A client's own mistake is no fault of the service.
  const faulty = record.status >= 500 || (record.error !== null && record.status === 0)
  return span({
    trace,
    spanId: trace.spanId,
    parentId: trace.parentId,
    parentRemote: true,
    name: record.route === null ? method : `${method} ${record.route}`,
    kind: serverKind,
    startMs: options.wall(record.startMs),
    endMs: options.wall(record.endMs),
    attributes,
    faulty,
  })
}

function clientSpan(
  record: ExchangeRecord,
  trace: ExchangeTrace,
  attempt: AttemptSpan,
  resends: number,
  options: SpanOptions,
): string {
  const authority = attempt.host.includes(':') ? `[${attempt.host}]` : attempt.host
  const target = options.query === 'keep' ? record.target : pathAndQuery(record.target).path
  let attributes = methodAttributes(record.method)
  attributes += attribute(
    'url.full',
    `${attempt.secure ? 'https' : 'http'}://${authority}:${attempt.port}${target}`,
  )
  attributes += attribute('server.address', attempt.host) + numberAttribute('server.port', attempt.port)
  if (resends > 0) attributes += numberAttribute('http.request.resend_count', resends)
  if (attempt.status > 0) attributes += numberAttribute('http.response.status_code', attempt.status)
  attributes += attribute('tidegate.backend', attempt.backend)
  const failure = attempt.error ?? (attempt.status >= 400 ? String(attempt.status) : null)
  if (failure !== null) attributes += attribute('error.type', failure)
  return span({
    trace,
    spanId: attempt.spanId,
    parentId: trace.spanId,
    parentRemote: false,
    name: methods.has(record.method) ? record.method : '_OTHER',
    kind: clientKind,
    startMs: options.wall(attempt.startMs),
    endMs: options.wall(attempt.endMs === 0 ? record.endMs : attempt.endMs),
    attributes,
    faulty: failure !== null,
  })
}

interface SpanFacts {
  readonly trace: ExchangeTrace
  readonly spanId: string
  readonly parentId: string | null
  readonly parentRemote: boolean
  readonly name: string
  readonly kind: number
  readonly startMs: number
  readonly endMs: number
  /** Each begins with a comma. */
  readonly attributes: string
  readonly faulty: boolean
}

function span(facts: SpanFacts): string {
  const { trace, parentId } = facts
  let text = `{"traceId":"${trace.traceId}","spanId":"${facts.spanId}"`
  if (parentId !== null) text += `,"parentSpanId":"${parentId}"`
  if (trace.tracestate !== null) text += `,"traceState":"${jsonText(trace.tracestate)}"`
  const flags = trace.flags | (parentId === null ? 0 : remoteKnown | (facts.parentRemote ? remote : 0))
  text += `,"flags":${flags},"name":"${jsonText(facts.name)}","kind":${facts.kind}`
  text += `,"startTimeUnixNano":"${nanosText(facts.startMs)}","endTimeUnixNano":"${nanosText(facts.endMs)}"`
  text += `,"attributes":[${facts.attributes.slice(1)}]`
  return `${text},"status":{${facts.faulty ? `"code":${errorStatus}` : ''}}}`
}

function methodAttributes(method: string): string {
  if (methods.has(method)) return attribute('http.request.method', method)
  return attribute('http.request.method', '_OTHER') + attribute('http.request.method_original', method)
}

const versions: Record<ExchangeRecord['protocol'], string> = {
  'HTTP/1.0': '1.0',
  'HTTP/1.1': '1.1',
  'HTTP/2': '2',
}

const protocolAttributes = ({ protocol, status }: ExchangeRecord) =>
  attribute('network.protocol.name', status === 101 ? 'websocket' : 'http') +
  attribute('network.protocol.version', versions[protocol])

const attribute = (key: string, value: string) =>
  `,{"key":"${key}","value":{"stringValue":"${boundedJsonText(value, textCharsMax)}"}}`

/** Whole numbers of 64 bits are text in this encoding. */
const numberAttribute = (key: string, value: number) => `,{"key":"${key}","value":{"intValue":"${value}"}}`

/** Nanoseconds do not fit a number: the milliseconds, and six digits more. */
function nanosText(wallMs: number): string {
  const whole = Math.floor(wallMs)
  return `${whole}${String(Math.floor((wallMs - whole) * 1e6)).padStart(6, '0')}`
}

function hostAndPort(authority: string): { readonly host: string; readonly port: number | null } {
  const [, host = authority, port] = /^(\[[^\]]*\]|[^:]*):(\d{1,5})$/.exec(authority) ?? []
  return { host: host.replace(/^\[|\]$/g, ''), port: port === undefined ? null : Number(port) }
}

function pathAndQuery(target: string): { readonly path: string; readonly query: string } {
  const mark = target.indexOf('?')
  return mark === -1
    ? { path: target, query: '' }
    : { path: target.slice(0, mark), query: target.slice(mark + 1) }
}
