/** What a backend must see of a request, by the tables in `docs/proxy.md`, and no matter how `lib` does it. */
import type { SeenRequest } from './reference.ts'

type Fields = readonly (readonly [string, string])[]

const forOneHop = [
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]
const aboutEarlierHops = /^(?:forwarded|via|x-real-ip|x-forwarded-.*|x-tidegate-.*)$/
const notToTakeAway =
  /^(?:host|content-(?:length|type|encoding|range)|cookie|set-cookie|authorization|www-authenticate|cache-control|location|date|sec-.*)$/
const writtenByUs = ['host', 'content-length', 'transfer-encoding', 'connection', 'upgrade', 'te', 'expect']

const reserved = (name: string) =>
  forOneHop.includes(name) || aboutEarlierHops.test(name) || notToTakeAway.test(name)

/** An application behind CGI takes it for a reserved name. */
const isAlias = (name: string) => /[^a-z0-9-]/.test(name) && reserved(name.replace(/[^a-z0-9-]/g, '-'))

/** Those fields that go from end to end. */
export function endToEnd(fields: Fields): Fields {
  const nominated = fields
    .filter(([name]) => name === 'connection')
    .flatMap(([, value]) => value.toLowerCase().split(/[ \t]*,[ \t]*/))
  return fields.filter(
    ([name]) =>
      !forOneHop.includes(name) &&
      !writtenByUs.includes(name) &&
      !aboutEarlierHops.test(name) &&
      !isAlias(name) &&
      (!nominated.includes(name) || notToTakeAway.test(name)),
  )
}

export function trailersThatPass(trailers: Fields): Fields {
  return trailers.filter(([name]) => !reserved(name) && !isAlias(name))
}

/** Null: `got` is `sent` as it had to be passed on; else what is not. */
export function difference(sent: SeenRequest, got: SeenRequest, backendPort: number): string | null {
  const host = sent.authority === '' ? `127.0.0.1:${backendPort}` : sent.authority
  const facts = (request: SeenRequest) => [request.method, request.target, request.body]
  if (!same(facts(sent), facts(got))) return `${show(facts(sent))} became ${show(facts(got))}`
  const all = (name: string) => got.fields.filter(([key]) => key === name).map(([, value]) => value)
  if (!same(all('host'), [host])) return `Host is ${show(all('host'))}, not ${host}`
  if (got.minor !== 1) return 'not HTTP/1.1'
  if (!same(endToEnd(sent.fields), endToEnd(got.fields)))
    return `fields ${show(endToEnd(sent.fields))} became ${show(endToEnd(got.fields))}`
  if (got.framing !== sent.framing) return `framing ${sent.framing} became ${got.framing}`
  if (got.framing === 'chunked' && !same(trailersThatPass(sent.trailers), got.trailers))
    return `trailers ${show(sent.trailers)} became ${show(got.trailers)}`
  if (!same(all('x-forwarded-for'), ['127.0.0.1']))
    return `x-forwarded-for is ${show(all('x-forwarded-for'))}`
  const alias = got.fields.find(([name]) => isAlias(name))
  return alias === undefined ? null : `${alias[0]} passed`
}

export const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)
export const show = (what: unknown) => String(JSON.stringify(what)).slice(0, 400)
