/**
 * Every known way to make two HTTP readers disagree, as data: what the fuzz begins with, and what it mutates. `%n` in a text is
 * replaced by a number of its own, so that every request, hidden ones as well, can be told from all others.
 */

export interface Attack {
  readonly name: string
  readonly bytes: string
}

const hidden = 'GET /hidden-%n HTTP/1.1\r\nHost: inside\r\n\r\n'
const hex = (text: string) => text.length.toString(16)
const chunk = (text: string) => `${hex(text)}\r\n${text}\r\n`
const plain = 'GET /next-%n HTTP/1.1\r\nHost: next\r\n\r\n'

const post = (fields: string, body: string, method = 'POST') =>
  `${method} /a-%n HTTP/1.1\r\nHost: x\r\n${fields}\r\n${body}`

/** `hidden` has to be a body, or nothing; a reader that sees a request in it was deceived. */
const bothFramings = [
  `Content-Length: 6\r\nTransfer-Encoding: chunked\r\n`,
  `Transfer-Encoding: chunked\r\nContent-Length: 6\r\n`,
  `Transfer-Encoding: chunked\r\nContent-Length: 0\r\n`,
  `Transfer-encoding: identity\r\nContent-Length: 0\r\n`,
]

/** Spellings of a coding that some take for chunked and some do not. */
const codings = [
  'chunked',
  'Chunked',
  'CHUNKED',
  ' chunked',
  '\tchunked',
  'chunked ',
  'chunked\t',
  '\x0bchunked',
  '\x0cchunked',
  'chunked\x0b',
  'chunked\x00',
  '\x00chunked',
  'chunked\x7f',
  'chunked\xa0',
  '\xa0chunked',
  'xchunked',
  'chunkedx',
  'chunked, identity',
  'identity, chunked',
  'chunked, chunked',
  'gzip, chunked',
  'chunked, gzip',
  'gzip',
  'chunked;q=1',
  'chunked ; x',
  ',chunked',
  'chunked,',
  '"chunked"',
  "'chunked'",
  'chun\tked',
  'chunked\r',
  '\r\n chunked',
  '\r\n\tchunked',
  '\n chunked',
  'x\nTransfer-Encoding: chunked',
  'x\rTransfer-Encoding: chunked',
  'identity\r\nTransfer-Encoding: chunked',
  'chunked\r\nTransfer-Encoding: identity',
  'chunked\r\nTransfer-Encoding: chunked',
  'cow\r\nTransfer-Encoding: chunked',
  '',
]

/** Spellings of the names of the fields that frame. */
const names = [
  ['Transfer-Encoding ', 'chunked'],
  ['Transfer-Encoding\t', 'chunked'],
  ['Transfer-Encoding\x00', 'chunked'],
  ['Transfer-Encoding\x0b', 'chunked'],
  [' Transfer-Encoding', 'chunked'],
  ['\tTransfer-Encoding', 'chunked'],
  ['Transfer_Encoding', 'chunked'],
  ['Transfer.Encoding', 'chunked'],
  ['Transfer Encoding', 'chunked'],
  ['Transfer-Encoding:', 'chunked'],
  ['\x00Transfer-Encoding', 'chunked'],
  ['Transfer-\r\n Encoding', 'chunked'],
  ['X:\rTransfer-Encoding', 'chunked'],
  ['X:\nTransfer-Encoding', 'chunked'],
  ['X: y\r\n\rTransfer-Encoding', 'chunked'],
  ['X: y\r\n\x0bTransfer-Encoding', 'chunked'],
  ['X: y\n\nTransfer-Encoding', 'chunked'],
  ['', 'chunked'],
  ['Content-Length ', '40'],
  ['Content_Length', '40'],
  ['Content-Length\x00', '40'],
  [' Content-Length', '40'],
] as const

const lengths = [
  '',
  '0',
  '00',
  '+0',
  '-0',
  '-1',
  '+5',
  '5 5',
  '5,5',
  '5, 6',
  '5\t',
  '0x5',
  '5.0',
  '5e0',
  '5\x00',
  '5\x0b',
  '5\xa0',
  '\xb2',
  '005',
  '5;',
  '5\r\nContent-Length: 5',
  '5\r\nContent-Length: 6',
  '0\r\nContent-Length: 5',
  '5\r\nContent-Length: 0',
  '\r\nContent-Length: 5',
  '5\r\n 6',
  '99999999999999999999',
  '4294967301',
  '18446744073709551621',
]

/** Chunked bodies that two readers may end in two places. */
const chunkings = [
  `5\nhello\r\n0\r\n\r\n`,
  `5\r\nhello\n0\r\n\r\n`,
  `5\r\nhello\r\n0\n\r\n`,
  `5\r\nhello\r\n0\r\n\n`,
  `5\rhello\r\n0\r\n\r\n`,
  `5\r\nhelloX\n0\r\n\r\n`,
  `5 \r\nhello\r\n0\r\n\r\n`,
  ` 5\r\nhello\r\n0\r\n\r\n`,
  `05\r\nhello\r\n0\r\n\r\n`,
  `0x5\r\nhello\r\n0\r\n\r\n`,
  `+5\r\nhello\r\n0\r\n\r\n`,
  `-5\r\nhello\r\n0\r\n\r\n`,
  `5;\r\nhello\r\n0\r\n\r\n`,
  `5;a\r\nhello\r\n0\r\n\r\n`,
  `5;a=b;c="d\\"e"\r\nhello\r\n0;f\r\n\r\n`,
  `5;a\nx=y\r\nhello\r\n0\r\n\r\n`,
  `5;a\rx\r\nhello\r\n0\r\n\r\n`,
  `5 ; a = b\r\nhello\r\n0\r\n\r\n`,
  `5;${'a'.repeat(300)}\r\nhello\r\n0\r\n\r\n`,
  `${`1;${'a'.repeat(200)}\r\nx\r\n`.repeat(30)}0\r\n\r\n`,
  `100000005\r\nhello\r\n0\r\n\r\n`,
  `10000000000000005\r\nhello\r\n0\r\n\r\n`,
  `fffffffffffffffb\r\nhello\r\n0\r\n\r\n`,
  `000000000000000000005\r\nhello\r\n0\r\n\r\n`,
  `G\r\nhello\r\n0\r\n\r\n`,
  `\r\nhello\r\n0\r\n\r\n`,
  `5\r\nhello0\r\n\r\n`,
  `5\r\nhello\r\n\r\n0\r\n\r\n`,
  `5\r\nhello\r\r0\r\n\r\n`,
  `5\r\nhello\rX0\r\n\r\n`,
  `5\r\nhelloXX0\r\n\r\n`,
  `5\r\nhell\r\n0\r\n\r\n`,
  `5\r\nhello\r\n0\r\nX: y\r\n\r\n`,
  `5\r\nhello\r\n0\r\nX: y\n\r\n`,
  `5\r\nhello\r\n0\r\nX : y\r\n\r\n`,
  `5\r\nhello\r\n0\r\n folded\r\n\r\n`,
  `5\r\nhello\r\n0\r\nno colon\r\n\r\n`,
  `5\r\nhello\r\n0\r\nContent-Length: 40\r\n\r\n`,
  `5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\nHost: y\r\nCookie: a\r\nX_Forwarded_For: z\r\nX-Ok: 1\r\n\r\n`,
  `5\r\nhello\r\n0\r\n${'X: y\r\n'.repeat(70)}\r\n`,
  `5\r\nhello\r\n0\r\nX: ${'y'.repeat(9_000)}\r\n\r\n`,
  `5\r\nhello\r\n00\r\n\r\n`,
  `5\r\nhello\r\n0;x=\r\n\r\n`,
]

const heads: readonly (readonly [string, string])[] = [
  // Request lines.
  ['bare LF everywhere', 'GET /%n HTTP/1.1\nHost: x\n\n'],
  ['bare LF after the line', 'GET /%n HTTP/1.1\nHost: x\r\n\r\n'],
  ['bare LF before the end', 'GET /%n HTTP/1.1\r\nHost: x\r\n\n'],
  ['bare LF between fields', 'GET /%n HTTP/1.1\r\nHost: x\nX: y\r\n\r\n'],
  ['bare CR between fields', 'GET /%n HTTP/1.1\r\nHost: x\rX: y\r\n\r\n'],
  ['bare CR in the line', 'GET /%n\rX HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['CR CR LF', 'GET /%n HTTP/1.1\r\r\nHost: x\r\r\n\r\r\n'],
  ['a tab for a blank', 'GET\t/%n\tHTTP/1.1\r\nHost: x\r\n\r\n'],
  ['two blanks', 'GET  /%n HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['a blank in the target', 'GET /%n x HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['two versions', 'GET /%n HTTP/1.1 HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['no version', 'GET /%n\r\nHost: x\r\n\r\n'],
  ['HTTP/0.9', 'GET /%n\r\n\r\n'],
  ['HTTP/1.2', 'GET /%n HTTP/1.2\r\nHost: x\r\n\r\n'],
  ['HTTP/2.0', 'GET /%n HTTP/2.0\r\nHost: x\r\n\r\n'],
  ['HTTP/11.1', 'GET /%n HTTP/11.1\r\nHost: x\r\n\r\n'],
  ['http/1.1', 'GET /%n http/1.1\r\nHost: x\r\n\r\n'],
  ['an unknown method', 'GPOST /%n HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['a method in lower case', 'get /%n HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['a byte before the method', '\x00GET /%n HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['one empty line before', '\r\nGET /%n HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['two empty lines before', '\r\n\r\nGET /%n HTTP/1.1\r\nHost: x\r\n\r\n'],
  // Targets: what is routed must be what is sent.
  ['absolute form', `GET http://y/%n HTTP/1.1\r\nHost: x\r\n\r\n${plain}`],
  ['absolute form, other host behind', 'GET http://y@x/%n HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['absolute form, bad Host', 'GET http://y/%n HTTP/1.1\r\nHost: x y\r\n\r\n'],
  ['absolute form without Host', 'GET http://y/%n HTTP/1.1\r\n\r\n'],
  ['absolute form, bad brackets', 'GET http://[/%n HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['absolute form, bad port', 'GET http://a:99999999/%n HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['another scheme', 'GET ftp://y/%n HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['scheme-relative', 'GET //y/%n HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['dot segments', 'GET /a/../%n HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['dot segments, encoded', 'GET /a/%2e%2E/%n HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['dot segments, backslash', 'GET /a\\..\\%n HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['dot segments, parameter', 'GET /a/..;x/%n HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['a fragment', 'GET /%n#x HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['a NUL', 'GET /%n\x00 HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['a byte above ASCII', 'GET /%n\xe9 HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['no target', 'GET  HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['asterisk with GET', 'GET * HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['asterisk with OPTIONS', 'OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['authority form', 'GET x:80 HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['CONNECT', `CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n${hidden}`],
  ['CONNECT with a body', `CONNECT x:443 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello${hidden}`],
  ['CONNECT to a path', `CONNECT /%n HTTP/1.1\r\nHost: x\r\n\r\n${hidden}`],
  // Hosts: no two of them, none that a substring test takes for another.
  ['no Host', 'GET /%n HTTP/1.1\r\n\r\n'],
  ['two Hosts', 'GET /%n HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n'],
  ['the same Host twice', 'GET /%n HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n'],
  ['two Hosts in one', 'GET /%n HTTP/1.1\r\nHost: x, y\r\n\r\n'],
  ['Host with a path', 'GET /%n HTTP/1.1\r\nHost: x/y\r\n\r\n'],
  ['Host with a user', 'GET /%n HTTP/1.1\r\nHost: x@y\r\n\r\n'],
  ['Host with a blank before the colon', 'GET /%n HTTP/1.1\r\nHost : x\r\n\r\n'],
  ['Host folded', 'GET /%n HTTP/1.1\r\nHost:\r\n x\r\n\r\n'],
  ['Host behind a fold', 'GET /%n HTTP/1.1\r\n Host: y\r\nHost: x\r\n\r\n'],
  ['an empty Host', 'GET /%n HTTP/1.1\r\nHost:\r\n\r\n'],
  // Fields.
  ['a folded field', 'GET /%n HTTP/1.1\r\nHost: x\r\nX: y\r\n z\r\n\r\n'],
  ['a fold that hides a field', 'GET /%n HTTP/1.1\r\nHost: x\r\nX: y\r\n Content-Length: 40\r\n\r\n'],
  ['an empty name', 'GET /%n HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n'],
  ['an empty name that cuts the head', `GET /%n HTTP/1.1\r\nHost: x\r\n:\r\nContent-Length: 5\r\n\r\nhello`],
  ['no colon', 'GET /%n HTTP/1.1\r\nHost: x\r\nX\r\n\r\n'],
  ['a control character', 'GET /%n HTTP/1.1\r\nHost: x\r\nX: \x08y\r\n\r\n'],
  ['a NUL in a value', 'GET /%n HTTP/1.1\r\nHost: x\r\nX: \x00\r\n\r\n'],
  ['201 fields', `GET /%n HTTP/1.1\r\nHost: x\r\n${'X: y\r\n'.repeat(200)}\r\n`],
  ['200 fields', `GET /%n HTTP/1.1\r\nHost: x\r\n${'X: y\r\n'.repeat(199)}\r\n`],
  ['16 KiB', `GET /%n HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(16_000)}\r\n\r\n`],
  ['17 KiB', `GET /%n HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(17_000)}\r\n\r\n`],
  ['17 KiB behind an empty line', `\r\nGET /%n HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(17_000)}\r\n\r\n`],
  // Fields that Connection names, in every case, and what it must not take away.
  [
    'nominated fields',
    'GET /%n HTTP/1.1\r\nHost: x\r\nConnection: X-Secret, x-other,,close \r\nX-SECRET: 1\r\nx-Other: 2\r\nX-Stays: 3\r\n\r\n',
  ],
  [
    'nominated framing',
    post('Connection: content-length, Transfer-Encoding, host\r\nContent-Length: 5\r\n', `hello${plain}`),
  ],
  [
    'nominated coding',
    post(
      'Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n',
      `${chunk(hidden)}0\r\n\r\n${plain}`,
    ),
  ],
  [
    'nominated identity',
    'GET /%n HTTP/1.1\r\nHost: x\r\nConnection: x-forwarded-for, Authorization, cookie, X-Real-IP\r\nX-Forwarded-For: 1.2.3.4\r\nAuthorization: a\r\nCookie: b=c\r\n\r\n',
  ],
  [
    'nominated twice',
    'GET /%n HTTP/1.1\r\nHost: x\r\nConnection: x-a\r\nConnection: X-B\r\nX-A: 1\r\nX-B: 2\r\n\r\n',
  ],
  // Names that applications take for others.
  [
    'aliases',
    'GET /%n HTTP/1.1\r\nHost: x\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded_Host: e\r\nX.Real.IP: 6.6.6.6\r\nContent_Length: 40\r\nTransfer_Encoding: chunked\r\nX_Fine: 1\r\n\r\n',
  ],
  [
    'forged forwarding',
    'GET /%n HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Host: e\r\nX-Tidegate-Backend: b\r\nVia: 1.1 x\r\n\r\n',
  ],
  // Upgrades: nothing of what follows may pass before a 101.
  [
    'h2c',
    `GET /%n HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n${plain}`,
  ],
  [
    'WebSocket, a request behind it',
    `GET /%n HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n${hidden}`,
  ],
  [
    'WebSocket with a body',
    `GET /%n HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}${plain}`,
  ],
  [
    'WebSocket by POST, chunked',
    `POST /%n HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n${chunk(hidden)}0\r\n\r\n${plain}`,
  ],
  [
    'an upgrade to anything',
    `GET /%n HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: foo/1, websocket\r\n\r\n${plain}`,
  ],
  // HTTP/1.0.
  [
    'HTTP/1.0 and chunked',
    `POST /%n HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${chunk(hidden)}0\r\n\r\n`,
  ],
  ['HTTP/1.0 without a length', `POST /%n HTTP/1.0\r\nHost: x\r\n\r\n${hidden}`],
  ['HTTP/1.0, kept', `GET /%n HTTP/1.0\r\nConnection: keep-alive\r\n\r\n${plain}`],
  [
    'HTTP/1.0 with a body, kept',
    `POST /%n HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello${plain}`,
  ],
  // Expectations.
  ['Expect', post('Expect: 100-continue\r\nContent-Length: 5\r\n', `hello${plain}`)],
  ['Expect, no body', `GET /%n HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n${plain}`],
  [
    'Expect, chunked',
    post('Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n', `5\r\nhello\r\n0\r\n\r\n${plain}`),
  ],
  ['Expect, something else', post('Expect: x 100-continue\r\nContent-Length: 5\r\n', `hello${hidden}`)],
  ['Expect twice', post('Expect: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n', `hello${hidden}`)],
  ['Expect folded', post('Expect:\r\n 100-continue\r\nContent-Length: 5\r\n', `hello${hidden}`)],
]

/** Bodies of methods that have none as a rule: the class of the special case that forgot to frame them. */
const bodiedMethods = ['GET', 'HEAD', 'DELETE', 'OPTIONS', 'PATCH', 'PUT', 'TRACE', 'PROPFIND', 'QUERY']

export const attacks: readonly Attack[] = [
  ...heads.map(([name, bytes]) => ({ name, bytes })),
  ...bothFramings.map((fields, i) => ({
    name: `both framings ${i}`,
    bytes: post(fields, `0\r\n\r\n${hidden}${plain}`),
  })),
  ...codings.map(value => ({
    name: `coding ${JSON.stringify(value)}`,
    bytes: post(`Transfer-Encoding: ${value}\r\n`, `${chunk(hidden)}0\r\n\r\n${plain}`),
  })),
  ...codings.map(value => ({
    name: `length and coding ${JSON.stringify(value)}`,
    bytes: post(`Content-Length: 5\r\nTransfer-Encoding: ${value}\r\n`, `0\r\n\r\n${hidden}`),
  })),
  ...names.map(([name, value]) => ({
    name: `name ${JSON.stringify(name)}`,
    bytes: post(`${name}: ${value}\r\n`, `0\r\n\r\n${hidden}`),
  })),
  ...names.map(([name, value]) => ({
    name: `length and name ${JSON.stringify(name)}`,
    bytes: post(`Content-Length: 5\r\n${name}: ${value}\r\n`, `0\r\n\r\n${hidden}`),
  })),
  ...lengths.map(value => ({
    name: `length ${JSON.stringify(value)}`,
    bytes: post(`Content-Length: ${value}\r\n`, `hello${hidden}`),
  })),
  ...chunkings.map(body => ({
    name: `chunks ${JSON.stringify(body).slice(0, 60)}`,
    bytes: post('Transfer-Encoding: chunked\r\n', `${body}${hidden}`),
  })),
  ...bodiedMethods.flatMap(method => [
    {
      name: `${method} with chunks`,
      bytes: post('Transfer-Encoding: chunked\r\n', `${chunk(hidden)}0\r\n\r\n${plain}`, method),
    },
    {
      name: `${method} with a length`,
      bytes: post(`Content-Length: ${hidden.length}\r\n`, `${hidden}${plain}`, method),
    },
    {
      name: `${method}, told to upgrade`,
      bytes: post(
        `Connection: keep-alive, upgrade\r\nTransfer-Encoding: chunked\r\n`,
        `${chunk(hidden)}0\r\n\r\n${plain}`,
        method,
      ),
    },
  ]),
]
