/** Field lines: what is a field to a proxy, and every line that is none (RFC 9110 §5, RFC 9112 §5). */
import t from 'tap'
import { Field, type FieldKind, FieldScanner, isToken } from '../../../../lib/proxy/http1/field-scanner.ts'

interface Scanned {
  readonly fields: readonly (readonly [string, string, FieldKind])[]
  readonly fault: string | null
}

function scan(lines: string, fieldsMax = 100): Scanned {
  const scanner = new FieldScanner()
  const fields: [string, string, FieldKind][] = []
  scanner.start(`before\r\n${lines}\r\nafter: 1\r\n\r\n`, 8)
  for (;;) {
    const result = scanner.next(fieldsMax)
    if (result === 'fault') return { fields, fault: scanner.fault }
    if (result === 'end') return { fields, fault: null }
    fields.push([scanner.name(), scanner.value(), scanner.kind])
  }
}

t.test('a line is a name, a colon and a value without the blanks around it', async t => {
  const lines = {
    'A: b': ['A', 'b'],
    'A:b': ['A', 'b'],
    'A:': ['A', ''],
    'A: ': ['A', ''],
    'A:\t \t': ['A', ''],
    'A: \tb c\t ': ['A', 'b c'],
    'A: b:c: d': ['A', 'b:c: d'],
    "!#$%&'*+-.^`|~09azAZ: b": ["!#$%&'*+-.^`|~09azAZ", 'b'],
    'a_b: c': ['a_b', 'c'],
    'A: \x80\xff': ['A', '\x80\xff'],
    'A: b\tc': ['A', 'b\tc'],
  }
  for (const [line, [name, value]] of Object.entries(lines)) {
    const { fields, fault } = scan(`${line}\r\n`)
    t.same([fault, fields], [null, [[name, value, Field.plain]]], JSON.stringify(line))
  }
  t.same(scan('').fields, [], 'no line at all')
})

t.test('what is not a field line is a fault', async t => {
  const lines = [
    ': no name',
    ' : no name',
    'No colon',
    'Blank : before the colon',
    'Tab\t: before the colon',
    'A name: with a blank',
    ' folded: at the start',
    '\tfolded: with a tab',
    'A: b\r\n folded',
    'A: b\r\n\tfolded',
    'A: b\r\n ',
    'A: bare\rCR',
    'A: bare\nB: LF',
    'A: b\r\r',
    '\rA: b',
    '\nA: b',
    'A\n: b',
    'A\r: b',
    'A\0: b',
    'A: b\0',
    'A: \x01',
    'A: \x0b',
    'A: \x0c',
    'A: \x1f',
    'A: \x7f',
    'A\x7f: b',
    'A\x80: b',
    '\xffA: b',
    ...'"(),/;<=>?@[\\]{}'.split('').map(delimiter => `A${delimiter}: b`),
  ]
  for (const line of lines) t.type(scan(`X: 1\r\n${line}\r\n`).fault, 'string', JSON.stringify(line))
})

t.test('every byte, in a name and in a value', async t => {
  const token = /[!#$%&'*+\-.^_`|~0-9A-Za-z]/
  const inName: number[] = []
  const inValue: number[] = []
  for (let byte = 0; byte < 256; byte++) {
    const char = String.fromCharCode(byte)
    const name = scan(`A${char}B: c\r\n`)
    // A colon only ends the name earlier.
    if ((name.fault === null) !== (token.test(char) || char === ':')) inName.push(byte)
    const value = scan(`A: b${char}c\r\n`)
    const visible = byte === 9 || (byte >= 0x20 && byte !== 0x7f)
    if ((value.fault === null) !== visible) inValue.push(byte)
    if (isToken(char, 0, 1) !== token.test(char)) inName.push(byte)
  }
  t.same([inName, inValue], [[], []])
  t.notOk(isToken('', 0, 0), 'a token has at least one character')
})

t.test('fields that a proxy looks at are known in every case, and only by their whole name', async t => {
  const known: Record<string, FieldKind> = {
    connection: Field.connection,
    'keep-alive': Field.keepAlive,
    'proxy-connection': Field.hop,
    'proxy-authenticate': Field.hop,
    'proxy-authorization': Field.hop,
    trailer: Field.hop,
    'http2-settings': Field.hop,
    host: Field.host,
    'content-length': Field.contentLength,
    'transfer-encoding': Field.transferEncoding,
    upgrade: Field.upgrade,
    te: Field.te,
    expect: Field.expect,
    cookie: Field.cookie,
    forwarded: Field.forwarding,
    via: Field.forwarding,
    'x-real-ip': Field.forwarding,
    'tidegate-failover': Field.forwarding,
    'x-forwarded-for': Field.forwarding,
    'x-forwarded-': Field.forwarding,
    'x-tidegate-': Field.forwarding,
    'x-forwarded-anything-at-all': Field.forwarding,
    'x-tidegate-backend': Field.forwarding,
  }
  const kindOf = (name: string) => scan(`${name}: v\r\n`).fields[0]![2]
  for (const [name, kind] of Object.entries(known)) {
    const mixed = name.replace(/./g, (char, at: number) => (at % 2 ? char : char.toUpperCase()))
    t.same([name, name.toUpperCase(), mixed].map(kindOf), [kind, kind, kind], name)
    t.equal(kindOf(`z${name}`), Field.plain, `z${name}`)
    if (!name.startsWith('x-')) t.equal(kindOf(`${name}z`), Field.plain, `${name}z`)
  }
})

t.test('another spelling of a known field is an alias', async t => {
  const kindOf = (name: string) => scan(`${name}: v\r\n`).fields[0]![2]
  for (const name of [
    'Content_Length',
    'transfer_encoding',
    'X_Forwarded_For',
    'X-Forwarded_For',
    'x_real_ip',
    'X_Tidegate_Backend',
    'Proxy_Connection',
    'Content_Type',
    'Sec_WebSocket_Key',
    'X.Forwarded.For',
    'X~Real~IP',
    'Content!Length',
  ])
    t.equal(kindOf(name), Field.alias, name)
  for (const name of ['a_b', 'a.b', 'X_Request_Id', '_', '!', 'x_forwarded', 'content_lengths'])
    t.equal(kindOf(name), Field.plain, name)
})

t.test('no more fields than allowed', async t => {
  t.equal(scan('A: b\r\n'.repeat(3), 3).fault, null)
  t.match(scan('A: b\r\n'.repeat(4), 3).fault, /More than 3 fields/)
})

t.test('a text that does not end is a fault, not a loop', async t => {
  const scanner = new FieldScanner()
  scanner.start('A: b\r\nC: d', 0)
  t.equal(scanner.next(9), 'field')
  t.equal(scanner.next(9), 'fault')
})
