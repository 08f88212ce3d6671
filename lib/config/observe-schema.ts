/** What is told of traffic: the keys of `access_log` and of `tracing`. @pure */
import { show, strict, z } from '../schema.ts'
import type { Unit } from '../units.ts'
import type { AccessLogConfig, OtlpConfig, TracingConfig } from './config.ts'
import { choice, duration, filePath, ratio, read } from './fields.ts'
import type { Surroundings } from './schema.ts'

const hourMs = 3_600_000
const query = choice(['keep', 'drop'])

/** `-` is standard output. */
const logPath = (absolute: Surroundings['absolute'], path: string) => (path === '-' ? path : absolute(path))

export const accessLogFor = ({ absolute }: Surroundings) =>
  strict({
    path: filePath(),
    format: choice(['json']).prefault('json'),
    sample: ratio(0, 1).prefault(1),
    slow: duration(0, hourMs).prefault('1s'),
    errors: choice(['always', 'sample']).prefault('always'),
    query: query.prefault('keep'),
    user_agent: z.boolean().default(false),
    referer: z.boolean().default(false),
  }).transform(
    (value): AccessLogConfig => ({
      path: logPath(absolute, value.path),
      format: value.format,
      sample: value.sample,
      slowMs: value.slow,
      errors: value.errors,
      query: value.query,
      userAgent: value.user_agent,
      referer: value.referer,
    }),
  )

const tracesPath = '/v1/traces'

/** The whole URL, or a collector's own, to which the path for traces is added. */
const endpoint = read((value): Unit<string> => {
  const fix = 'as "http://127.0.0.1:4318" or "https://collector.example.com/v1/traces"'
  const url = typeof value === 'string' && value.length <= 2_048 ? URL.parse(value) : null
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:'))
    return { ok: false, message: `${show(value)} is not an http URL`, fix }
  if (url.username !== '' || url.password !== '')
    return {
      ok: false,
      message: 'a password does not belong into a URL',
      fix: 'write an `Authorization` line into `headers_file`',
    }
  if (url.pathname === '/') url.pathname = tracesPath
  url.hash = ''
  return { ok: true, value: url.href }
})

/** What a span names its service by. */
const serviceName = read((value): Unit<string> => {
  if (typeof value === 'string' && /^[ -~]{1,128}$/.test(value)) return { ok: true, value }
  return {
    ok: false,
    message: `${show(value)} cannot be used here`,
    fix: 'plain text, at most 128 characters',
  }
})

export const tracingFor = ({ absolute }: Surroundings) =>
  strict({
    propagate: z.boolean().default(true),
    generate: choice(['auto', 'always', 'never']).prefault('auto'),
    sample: ratio(0, 1).prefault(1),
    otlp: strict({
      endpoint,
      headers_file: filePath().optional(),
      service_name: serviceName.prefault('tidegate'),
      query: query.prefault('drop'),
    })
      .transform(
        (value): OtlpConfig => ({
          endpoint: value.endpoint,
          headersFile: value.headers_file === undefined ? null : absolute(value.headers_file),
          serviceName: value.service_name,
          query: value.query,
        }),
      )
      .optional(),
  }).transform((value): TracingConfig => ({ ...value, otlp: value.otlp ?? null }))
