/** Request texts from a grammar of what clients, and those who would deceive, send; then some of them are damaged. */
import { attacks } from './corpus.ts'
import type { Random } from './random.ts'

const methods = [
  'GET',
  'GET',
  'GET',
  'POST',
  'POST',
  'HEAD',
  'PUT',
  'DELETE',
  'OPTIONS',
  'PATCH',
  'get',
  'X-ODD',
]
const versions = [...Array<string>(80).fill('1.1'), '1.0', '1.0', '1.2', '2.0', '0.9', '1.1 ', '01.1']
const hosts = [
  'x',
  'x',
  'x',
  'X.example:8080',
  '[::1]',
  '127.0.0.1:80',
  'x:',
  'a_b',
  'x y',
  'x/y',
  'u@x',
  '',
  'x,y',
  'x:p',
]
const targets = [
  '/',
  '/a/b?c=d',
  '//a',
  '/a%2Fb',
  '/?',
  '/a;b',
  '/.a/..b/...',
  '/a/../b',
  '/%2e%2e',
  '/a\\b',
  '/"<>^`{|}',
  '/a b',
  '/a#b',
  '/\xe9',
  '*',
  'http://y/a',
  'http://y',
  'http://y?q',
  'https://Y:1/',
  'http://u@y/',
  'HTTP://[::1]/',
  'x:80',
  'a',
]
const fields = [
  'Accept: */*',
  'User-Agent: fuzz',
  'X-A:b',
  'X-A: ',
  'x-a:\t b \t',
  'X-Obs: \xe9\xff',
  'X-Tab: a\tb',
  'Cookie: a=1',
  'Cookie: b=2',
  'Authorization: Bearer x',
  'Content-Type: text/plain',
  'Connection: close',
  'Connection: keep-alive',
  'Connection: X-A, Keep-Alive',
  'connection: x-a,, cookie , Content-Length',
  'Connection: upgrade',
  'Connection: Upgrade, HTTP2-Settings',
  'Keep-Alive: timeout=5',
  'Proxy-Connection: keep-alive',
  'Proxy-Authorization: Basic x',
  'TE: trailers',
  'TE: gzip;q=1',
  'Trailer: X-T',
  'Upgrade: websocket',
  'Upgrade: h2c',
  'HTTP2-Settings: AAMA',
  'Expect: 100-continue',
  'X-Forwarded-For: 6.6.6.6',
  'X-Forwarded-Host: evil',
  'Forwarded: for=6.6.6.6',
  'X-Real-IP: 6.6.6.6',
  'Via: 1.1 other',
  'X-Tidegate-Backend: b',
  'X_Forwarded_For: 6.6.6.6',
  'X.Forwarded.For: 6.6.6.6',
  'Content_Length: 9',
  'Transfer_Encoding: chunked',
  'x_plain: 1',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
]
const oddFields = [
  'Expect: x',
  'X : y',
  ': y',
  'X',
  ' X: y',
  'X: y\r\n z',
  'X: \x00',
  'X\x00: y',
  'Host: z',
  'Content-Length: 3',
  'Content-Length: 0',
  'Content-Length:',
  'Content-Length: +3',
  'Content-Length: 3, 3',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: identity',
  'Transfer-Encoding: xchunked',
  'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding : chunked',
  'X: y\nContent-Length: 3',
  'X: y\rContent-Length: 3',
]
const bodies = [
  '',
  'a',
  'hello',
  '0\r\n\r\n',
  'GET /in HTTP/1.1\r\nHost: in\r\n\r\n',
  '\r\n',
  '\r\n\r\n',
  '5\r\nhello\r\n',
]
const extensions = ['', '', '', ';a', ';a=b', ';a="b;c"', ' ', ';', '\t;a', ';a=']
const trailerLines = [
  '',
  '',
  '',
  'X-T: 1\r\n',
  'X-T: 1\r\nX-U:2 \r\n',
  'Host: t\r\n',
  'X : t\r\n',
  ' t\r\n',
  'Content-Length: 1\r\n',
]
/** What a byte may be replaced by. */
const bytes = [
  '\r',
  '\n',
  '\r\n',
  '\r\n\r\n',
  ' ',
  '\t',
  '\0',
  ':',
  ';',
  ',',
  '0',
  '5',
  'a',
  '_',
  '/',
  '\x0b',
  '\x7f',
  '\x85',
  '\xa0',
  '\xff',
]

/** One or a few requests, one after another. */
export function generate(random: Random): string {
  if (random.chance(0.25)) return damage(fill(random.pick(attacks).bytes), random)
  let text = ''
  const count = random.pick([1, 1, 1, 2, 2, 3])
  for (let i = 0; i < count; i++)
    text += random.chance(0.08) ? fill(random.pick(attacks).bytes) : request(random)
  return random.chance(0.35) ? damage(text, random) : text
}

/** `%n` becomes two digits, another two each time. */
export function fill(text: string): string {
  let n = 10
  return text.replace(/%n/g, () => String(n++))
}

function request(random: Random): string {
  const method = random.pick(methods)
  const target = random.chance(0.8) ? '/' : random.pick(targets)
  const version = random.pick(versions)
  const host = random.chance(0.9) ? 'x' : random.pick(hosts)
  const lines = [`${method} ${target} HTTP/${version}`, `Host: ${host}`]
  lines.push(...random.some(fields, 0.06))
  if (random.chance(0.08)) lines.push(random.pick(oddFields))
  const body = framed(random)
  if (body.field !== '') lines.splice(1 + random.below(lines.length), 0, body.field)
  return `${lines.join('\r\n')}\r\n\r\n${body.text}`
}

function framed(random: Random): { field: string; text: string } {
  const content = random.pick(bodies)
  if (random.chance(0.5)) return { field: '', text: random.chance(0.05) ? content : '' }
  if (random.chance(0.5)) {
    const length = content.length + (random.chance(0.1) ? random.below(5) - 2 : 0)
    return { field: `Content-Length: ${length}`, text: content }
  }
  let text = ''
  for (let left = content; left !== ''; ) {
    const size = 1 + random.below(left.length)
    text += `${size.toString(16)}${random.chance(0.1) ? random.pick(extensions) : ''}\r\n${left.slice(0, size)}\r\n`
    left = left.slice(size)
  }
  return { field: 'Transfer-Encoding: chunked', text: `${text}0\r\n${random.pick(trailerLines)}\r\n` }
}

export function damage(text: string, random: Random): string {
  let out = text
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    const at = random.below(out.length + 1)
    const length = random.below(4)
    switch (random.below(7)) {
      case 0:
        out = out.slice(0, at) + random.pick(bytes) + out.slice(at)
        break
      case 1:
        out = out.slice(0, at) + random.pick(bytes) + out.slice(at + 1)
        break
      case 2:
        out = out.slice(0, at) + out.slice(at + 1 + length)
        break
      case 3:
        out = atLine(out, random, line => line + line)
        break
      case 4:
        out = atLine(out, random, line => line.replace('\r\n', random.pick(['\n', '\r', '\r\r\n', ' \r\n'])))
        break
      case 5:
        out = atLine(out, random, line => (random.chance(0.5) ? upper(line) : lower(line)))
        break
      default:
        out = out.slice(0, at) + String.fromCharCode(random.below(256)) + out.slice(at + (length & 1))
    }
  }
  return out
}

const upper = (text: string) => text.replace(/[a-z]+/g, letters => letters.toUpperCase())
const lower = (text: string) => text.replace(/[A-Z]+/g, letters => letters.toLowerCase())

/** Changes one line, with its end. */
function atLine(text: string, random: Random, change: (line: string) => string): string {
  const lines = text.split(/(?<=\n)/)
  const at = random.below(lines.length)
  return lines.map((line, i) => (i === at ? change(line) : line)).join('')
}

/** Where the text is cut on its way; mostly nowhere. */
export function cutsOf(text: string, random: Random): number[] {
  if (random.chance(0.6)) return []
  return Array.from({ length: 1 + random.below(3) }, () => random.below(text.length + 1)).sort(
    (a, b) => a - b,
  )
}
