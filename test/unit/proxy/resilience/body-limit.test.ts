import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import t from 'tap'
import type { BodySink, RequestBody } from '../../../../lib/proxy/client-end.ts'
import { bodyTooLong, LimitedBody } from '../../../../lib/proxy/resilience/body-limit.ts'

t.test('of a known length', async t => {
  t.notOk(bodyTooLong(10, 10))
  t.ok(bodyTooLong(10, 11))
  t.notOk(bodyTooLong(10, -1), 'not known: counted as it passes')
  t.notOk(bodyTooLong(0, Number.MAX_SAFE_INTEGER), 'no limit')
})

function lab(limitBytes: number) {
  const log: string[] = []
  const source = Object.assign(new PassThrough(), { rawTrailers: ['X-T', '1'] })
  let inner: BodySink | null = null
  const body: RequestBody = {
    length: -1,
    start: sink => {
      inner = sink
    },
    resume: () => log.push('resume'),
    stream: () => source,
  }
  const limited = new LimitedBody(body, limitBytes, () => log.push('too long'))
  const sink: BodySink = {
    write: bytes => log.push(String(bytes)) < 2,
    end: trailers => log.push(`end ${trailers.join(' ')}`),
  }
  return { log, source, limited, sink, inner: () => inner! }
}

t.test('as bytes: up to the limit, with back-pressure and trailers; nothing from there on', async t => {
  const fits = lab(6)
  fits.limited.start(fits.sink)
  t.equal(fits.inner().write(Buffer.from('abc')), true)
  t.equal(fits.inner().write(Buffer.from('def')), false, 'the sink is full')
  fits.limited.resume()
  fits.inner().end(['X-T', '1'])
  t.same(fits.log, ['abc', 'def', 'resume', 'end X-T 1'])

  const { log, limited, sink, inner } = lab(5)
  limited.start(sink)
  inner().write(Buffer.from('abc'))
  t.equal(inner().write(Buffer.from('def')), true, 'what is dropped needs no room')
  inner().write(Buffer.from('g'))
  inner().end([])
  t.same(log, ['abc', 'too long'])
})

t.test('as a stream', async t => {
  const fits = lab(6)
  const read = fits.limited.stream()
  fits.source.end('abcdef')
  t.equal(await text(read), 'abcdef')
  t.same(read.rawTrailers, ['X-T', '1'])
  t.same(fits.log, [])

  const over = lab(5)
  const cut = over.limited.stream()
  over.source.write('abc')
  over.source.write('def')
  over.source.end('g')
  t.equal(await text(cut), 'abc')
  t.same(over.log, ['too long'])

  const broken = lab(5)
  const rest = broken.limited.stream()
  broken.source.write('abc')
  broken.source.destroy(new Error('the client left'))
  await t.rejects(
    text(rest),
    { code: 'ERR_STREAM_PREMATURE_CLOSE' },
    'without an error that nobody listens for',
  )
  const silent = lab(5)
  const gone = silent.limited.stream()
  silent.source.destroy()
  await t.rejects(text(gone), { code: 'ERR_STREAM_PREMATURE_CLOSE' })
})
