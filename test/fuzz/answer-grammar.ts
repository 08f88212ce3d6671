/** Answers as backends write them, and as nobody should. */
import { damage } from './grammar.ts'
import type { Random } from './random.ts'

export interface AnswerCase {
  readonly text: string
  readonly cuts: readonly number[]
  /** What the backend does with its connection behind the answer. */
  readonly ending: 'stays' | 'ends' | 'resets'
  readonly method: 'GET' | 'HEAD'
  readonly minor: 0 | 1
}

const second = 'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned'
const lines = [
  ...Array<string>(20).fill('HTTP/1.1 200 OK'),
  'HTTP/1.1 204 None',
  'HTTP/1.1 304 Same',
  'HTTP/1.0 200 OK',
]
const oddLines = [
  'HTTP/1.1 200',
  'HTTP/1.1 200 ',
  'HTTP/1.1  200 OK',
  'HTTP/1.1 2000 OK',
  'HTTP/1.1 99 Low',
  'HTTP/1.1 099 Low',
  'HTTP/1.1 999 High',
  'HTTP/1.1 101 Go',
  'HTTP/1.1 205 Reset',
  'HTTP/2 200 OK',
  'HTTP/1.2 200 OK',
  'http/1.1 200 OK',
  'ICY 200 OK',
  'HTTP/1.1 200 \xe9\x01',
  'HTTP/1.1 200 O\rK',
  '<html>',
  '',
]
const fields = [
  'X-A: b',
  'x-a:\t b \t',
  'X-Obs: \xe9',
  'Set-Cookie: a=1',
  'Set-Cookie: b=2',
  'Connection: close',
  'Connection: keep-alive',
  'Connection: X-A, set-cookie',
  'Keep-Alive: timeout=5',
  'Upgrade: h2c',
  'Trailer: X-T',
  'Via: 1.1 other',
  'X-Tidegate-Backend: forged',
  'x_under: 1',
  'Proxy-Authenticate: Basic',
]
const oddFields = [
  'Content-Length: 5',
  'Content-Length: 0',
  'Content-Length: +5',
  'Content-Length: 5, 5',
  'Content-Length:',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: identity',
  'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding: chunked, chunked',
  'Transfer-Encoding : chunked',
  'X : y',
  ': y',
  'X',
  'X: y\r\n folded',
  'X: y\nContent-Length: 3',
  'X: \x00',
]
const interims = [
  'HTTP/1.1 100 Go\r\n\r\n',
  'HTTP/1.1 103 Hints\r\nLink: </x>\r\n\r\n',
  'HTTP/1.1 102 Wait\r\n\r\n',
]
const bodies = ['', 'a', 'hello', '0\r\n\r\n', '\r\n', second]

/** Known ways to make two readers of answers disagree. */
export const knownAnswers: readonly string[] = [
  `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok${second}`,
  `HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok${second}`,
  `HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${second}`,
  `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n${second}`,
  `HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n${second}`,
  `HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n${second}`,
  `HTTP/1.1 204 None\r\nContent-Length: ${second.length}\r\n\r\n${second}`,
  `HTTP/1.1 204 None\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  `HTTP/1.1 304 Same\r\nContent-Length: ${second.length}\r\n\r\n${second}`,
  `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n${second}`,
  `HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n`,
  `HTTP/1.1 100 Continue\r\nContent-Length: ${second.length}\r\n\r\n${second}`,
  `HTTP/1.1 200 OK\nContent-Length: 2\n\nok`,
  `HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 2\r\n\r\nok`,
  `HTTP/1.1 200 OK\r\nX: a\nContent-Length: 2\r\n\r\nok${second}`,
  `HTTP/1.1 200 OK\r\nX: a\rContent-Length: 2\r\n\r\nok`,
  `HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a\r\n\r\n\r\nok`,
  `HTTP/1.1 200 O\r\nK\r\nContent-Length: 2\r\n\r\nok`,
  `plain text, as a TLS backend that is spoken to in the clear may say`,
  `\x15\x03\x01\x00\x02\x02\x46`,
  '220 mail ESMTP\r\n',
  `${interims[0]!.repeat(40)}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok`,
  `HTTP/1.1 200 OK\r\n${'X: y\r\n'.repeat(300)}Content-Length: 2\r\n\r\nok`,
  `HTTP/1.1 200 OK\r\nX: ${'y'.repeat(70_000)}\r\n\r\n`,
  `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe`,
  `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n`,
  `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: 1\r\nSet-Cookie: a\r\nContent-Length: 9\r\n\r\n`,
  `HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello`,
  `HTTP/1.1 200 OK\r\n\r\nup to the end`,
  '',
]

export function generateAnswer(random: Random): AnswerCase {
  const text = answerText(random)
  const cuts = random.chance(0.5)
    ? []
    : Array.from({ length: 1 + random.below(3) }, () => random.below(text.length + 1)).sort((a, b) => a - b)
  return {
    text,
    cuts,
    ending: random.pick(['stays', 'stays', 'ends', 'ends', 'resets']),
    method: random.chance(0.85) ? 'GET' : 'HEAD',
    minor: random.chance(0.9) ? 1 : 0,
  }
}

function answerText(random: Random): string {
  if (random.chance(0.15)) return damage(random.pick(knownAnswers), random)
  let text = random.chance(0.15) ? random.pick(interims).repeat(1 + random.below(3)) : ''
  text += answer(random)
  if (random.chance(0.15)) text += random.chance(0.5) ? second : random.pick(['\r\n', 'x', '\0'])
  return random.chance(0.3) ? damage(text, random) : text
}

function answer(random: Random): string {
  const head = [random.chance(0.93) ? random.pick(lines) : random.pick(oddLines), ...random.some(fields, 0.1)]
  if (random.chance(0.1)) head.push(random.pick(oddFields))
  let body = random.pick(bodies)
  const framing = random.pick(['length', 'length', 'chunked', 'close'])
  if (framing === 'length')
    head.push(`Content-Length: ${body.length + (random.chance(0.1) ? random.below(5) - 2 : 0)}`)
  else if (framing === 'chunked') {
    head.push('Transfer-Encoding: chunked')
    const size = body.length.toString(16)
    body =
      body === ''
        ? ''
        : `${size}${random.chance(0.1) ? random.pick([';a', ';a=b', ' ', ';']) : ''}\r\n${body}\r\n`
    body += `0\r\n${random.pick(['', '', '', 'X-T: 1\r\n', 'Set-Cookie: t\r\n', 'X : t\r\n'])}\r\n`
  }
  return `${head.join('\r\n')}\r\n\r\n${body}`
}
