/** The PROXY header: every form of it, every way to be wrong, and that no bytes at all can confuse or crash the reader. */
import t from 'tap'
import { headerBytesMax, type ProxyHeader, readProxyHeader } from '../../../lib/proxy/proxy-protocol.ts'
import { seed, seeded } from '../../support/members.ts'
import { proxyV2, tlv } from '../../support/proxy-header.ts'

const read = (text: string) => readProxyHeader(Buffer.from(text, 'latin1'))
const v4 = { from: '192.0.2.7', to: '198.51.100.1' }
const whole = {
  source: { address: '192.0.2.7', port: 56324 },
  destination: { address: '198.51.100.1', port: 443 },
}

t.test('version 1', async t => {
  const line = 'PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n'
  t.strictSame(read(line), { length: line.length, ...whole })
  t.strictSame(read(`${line}GET / HTTP/1.1\r\n`), { length: line.length, ...whole }, 'the rest is left')
  const six = 'PROXY TCP6 2001:DB8:0:0:0:0:0:1 ::ffff:192.0.2.9 1 65535\r\n'
  t.strictSame(read(six), {
    length: six.length,
    source: { address: '2001:db8::1', port: 1 },
    destination: { address: '::ffff:192.0.2.9', port: 65535 },
  })
  for (const unknown of ['PROXY UNKNOWN\r\n', 'PROXY UNKNOWN ::1 ::1 1 2\r\n', 'PROXY UNKNOWN \xff\r\n'])
    t.strictSame(read(unknown), { length: unknown.length, source: null, destination: null })
})

t.test('version 1 that is not exactly that', async t => {
  const wrong = [
    'GET / HTTP/1.1\r\n',
    'PROXY\tTCP4 1.2.3.4 1.2.3.4 1 2\r\n',
    'proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n',
    'PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n\r\n',
    'PROXY TCP4 1.2.3.4 1.2.3.4 1\r2\r\n',
    'PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n',
    'PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n',
    'PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n',
    'PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n',
    'PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n',
    'PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n',
    'PROXY TCP4 ::1 ::1 1 2\r\n',
    'PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n',
    'PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n',
    'PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n',
    'PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n',
    'PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n',
    'PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n',
    'PROXY UNKNOWNS\r\n',
    `PROXY UNKNOWN ${'x'.repeat(100)}\r\n`,
  ]
  for (const line of wrong) t.match(read(line), { fault: /PROXY/ }, JSON.stringify(line))
})

t.test('version 2', async t => {
  const bytes = proxyV2(v4, 56324, 443)
  t.strictSame(readProxyHeader(bytes), { length: 28, ...whole })
  t.strictSame(readProxyHeader(Buffer.concat([bytes, Buffer.from('GET')])), { length: 28, ...whole })
  t.strictSame(readProxyHeader(proxyV2({ from: '2001:db8::1', to: '::ffff:192.0.2.9' }, 1, 2)), {
    length: 52,
    source: { address: '2001:db8::1', port: 1 },
    destination: { address: '::ffff:192.0.2.9', port: 2 },
  })
  const nobody = { source: null, destination: null }
  t.strictSame(readProxyHeader(proxyV2(v4, 1, 2, { command: 0x20 })), { length: 28, ...nobody }, 'LOCAL')
  t.strictSame(readProxyHeader(proxyV2(v4, 1, 2, { command: 0x20, family: 0xff })), { length: 28, ...nobody })
  t.strictSame(readProxyHeader(proxyV2(v4, 1, 2, { family: 0x00 })), { length: 28, ...nobody }, 'UNSPEC')
  t.strictSame(readProxyHeader(proxyV2(v4, 1, 2, { family: 0x12 })), { length: 28, ...nobody }, 'UDP')
  const unix = proxyV2(v4, 1, 2, { family: 0x31, extensions: Buffer.alloc(204) })
  t.strictSame(readProxyHeader(unix), { length: 232, ...nobody }, 'Unix sockets')
})

t.test('version 2: extensions are walked, a checksum is looked at', async t => {
  const extensions = Buffer.concat([tlv(0x05, 'unique'), tlv(0x04, ''), tlv(0xee, 'x'.repeat(300))])
  t.match(readProxyHeader(proxyV2(v4, 56324, 443, { extensions })), whole)
  const summed = proxyV2(v4, 56324, 443, { extensions, checksum: true })
  t.match(readProxyHeader(summed), whole, 'right')
  const type = summed.length - 7
  for (let at = 16; at < summed.length; at++) {
    // Another type there, and it is no checksum any more.
    if (at === type) continue
    const broken = Buffer.from(summed)
    broken[at]! ^= 0x10
    t.match(readProxyHeader(broken), { fault: /PROXY/ }, `byte ${at} of a summed header`)
  }
})

t.test('the checksum is CRC-32C', async t => {
  // "123456789" has the well-known sum 0xe3069283; here it is taken over a header, against a sum made bit by bit.
  const bytes = proxyV2(v4, 1, 2, { checksum: true })
  const field = bytes.readUInt32BE(bytes.length - 4)
  bytes.writeUInt32BE(0, bytes.length - 4)
  let crc = ~0
  for (const byte of bytes) {
    for (let bit = 0; bit < 8; bit++) {
      const odd = (crc ^ (byte >> bit)) & 1
      crc = (crc >>> 1) ^ (odd ? 0x82f63b78 : 0)
    }
  }
  t.equal(field, ~crc >>> 0)
})

t.test('version 2 that is not exactly that', async t => {
  const wrong: Record<string, Buffer> = {
    'another signature': Buffer.from('\r\n\r\n\0\r\nQUIT\r', 'latin1'),
    'version 1 in binary': proxyV2(v4, 1, 2, { command: 0x11 }),
    'an unassigned command': proxyV2(v4, 1, 2, { command: 0x22 }),
    'an unknown family': proxyV2(v4, 1, 2, { family: 0x41 }),
    'an unknown transport': proxyV2(v4, 1, 2, { family: 0x13 }),
    'a stream of no family': proxyV2(v4, 1, 2, { family: 0x01 }),
    'less than its addresses': proxyV2(v4, 1, 2, { family: 0x21 }),
    'an extension cut short': proxyV2(v4, 1, 2, { extensions: Buffer.from([1, 0]) }),
    'an extension that goes on': proxyV2(v4, 1, 2, { extensions: Buffer.from([1, 0, 2, 9]) }),
    'a checksum of three bytes': proxyV2(v4, 1, 2, { extensions: tlv(3, 'abc') }),
    'longer than the bound': proxyV2(v4, 1, 2, { extensions: tlv(0xee, 'x'.repeat(headerBytesMax)) }),
  }
  for (const [what, bytes] of Object.entries(wrong)) t.match(readProxyHeader(bytes), { fault: /PROXY/ }, what)
})

t.test('a header may come in pieces, and a wrong byte is noticed at once', async t => {
  const headers = [
    Buffer.from('PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n'),
    proxyV2(v4, 56324, 443, { extensions: tlv(0xee, 'abc'), checksum: true }),
  ]
  for (const header of headers) {
    for (let length = 0; length < header.length; length++) {
      const part = readProxyHeader(header.subarray(0, length))
      t.ok('need' in part && part.need > 0 && part.need <= header.length - length, `${length} bytes`)
    }
    t.match(readProxyHeader(header), whole)
  }
  t.match(read('\r\n\r\nX'), { fault: 'no PROXY header' })
  t.match(read('PX'), { fault: 'no PROXY header' })
  t.match(readProxyHeader(Buffer.concat([headers[1]!.subarray(0, 12), Buffer.from([0x30])])), {
    fault: /version/,
  })
})

t.test('any bytes, in any pieces, end in one and the same answer', async t => {
  const start = seed()
  t.comment(`SEED=${start}`)
  const random = seeded(start)
  const seeds = [
    Buffer.from('PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\nGET / HTTP/1.1\r\n'),
    proxyV2(v4, 1, 2, { extensions: tlv(0xee, 'abc'), checksum: true }),
    proxyV2({ from: '2001:db8::1', to: '::1' }, 1, 2),
  ]
  const settled = (answer: ProxyHeader) => !('need' in answer)
  for (let round = 0; round < 4_000; round++) {
    const bytes = Buffer.from(seeds[Math.floor(random() * seeds.length)]!)
    for (let i = Math.floor(random() * 4); i > 0; i--)
      bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256)
    const answer = readProxyHeader(bytes)
    let first: ProxyHeader = { need: 1 }
    for (let length = 1; length <= bytes.length && !settled(first); length++)
      first = readProxyHeader(bytes.subarray(0, length))
    if ('fault' in answer) {
      if (!('fault' in first)) t.fail(`${bytes.toString('hex')}: ${JSON.stringify([first, answer])}`)
    } else if ('length' in answer) {
      if (!('length' in first) || first.length !== answer.length || answer.length > bytes.length)
        t.fail(`${bytes.toString('hex')}: ${JSON.stringify([first, answer])}`)
    } else if (settled(first)) t.fail(`${bytes.toString('hex')}: ${JSON.stringify([first, answer])}`)
  }
  t.pass('all the same')
})
