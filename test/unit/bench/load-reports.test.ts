/** What the programs that make the load print is read to the last digit, and never taken for something else. */
import t from 'tap'
import { AnswerReader } from '../../../bench/proxy/load/answer.ts'
import { FrameReader, frame } from '../../../bench/proxy/load/frames.ts'
import { parseH2load, parseWrk } from '../../../bench/proxy/load/parse.ts'

const wrkReport = `Running 2s test @ http://127.0.0.1:40001/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.11ms    1.02ms  30.41ms   88.10%
    Req/Sec    30.79k     1.21k   32.50k    70.00%
  Latency Distribution
     50%    1.98ms
     75%    2.40ms
     90%    3.01ms
     99%  812.00us
  61598 requests in 2.00s, 15.16MB read
Requests/sec:  30798.54
Transfer/sec:      7.58MB
`

t.test('a report of wrk', async t => {
  const clean = parseWrk(wrkReport)
  t.strictSame(clean, { requests: 61_598, seconds: 2, requestsPerSecond: 30_798.54, p99Ms: 0.812, errors: 0 })
  const troubled = wrkReport.replace(
    'Requests/sec',
    '  Socket errors: connect 1, read 20, write 300, timeout 4000\n  Non-2xx or 3xx responses: 7\nRequests/sec',
  )
  t.equal(parseWrk(troubled).errors, 4_328, 'every kind of failure is counted')
  t.equal(parseWrk(wrkReport.replace('812.00us', '1.50s')).p99Ms, 1_500)
  t.equal(parseWrk(wrkReport.replace('in 2.00s', 'in 1.50m')).seconds, 90)
  t.throws(() => parseWrk('unable to connect to 127.0.0.1:1 Connection refused'), /no report of wrk/)
})

const h2loadReport = `starting benchmark...
Application protocol: h2

finished in 2.01s, 25219.50 req/s, 5.12MB/s
requests: 50691 total, 50703 started, 50690 done, 50688 succeeded, 2 failed, 2 errored, 1 timeout
status codes: 50680 2xx, 5 3xx, 0 4xx, 3 5xx
traffic: 10.29MB (10791000) total, 1.20MB (1260000) headers (space savings 90.00%), 4.83MB (5069000) data
                     min         max         mean         sd        +/- sd
time for request:      210us     12.41ms      2.51ms       901us    71.23%
`

t.test('a report of h2load', async t => {
  t.strictSame(parseH2load(h2loadReport), {
    requests: 50_690,
    seconds: 2.01,
    requestsPerSecond: 25_219.5,
    p99Ms: 12.41,
    errors: 6,
  })
  t.throws(() => parseH2load('Could not connect'), /no report of h2load/)
})

t.test('answers are read wherever their bytes are cut', async t => {
  const sized = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'
  const chunked = 'HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n'
  for (let cut = 1; cut < (sized + chunked).length; cut++) {
    const reader = new AnswerReader()
    const statuses: number[] = []
    for (const answer of [sized, chunked]) {
      const bytes = Buffer.from(answer)
      const at = Math.min(cut, bytes.length - 1)
      for (const part of [bytes.subarray(0, at), bytes.subarray(at)]) {
        const status = reader.read(part)
        if (status !== null) statuses.push(status)
      }
    }
    t.strictSame(statuses, [200, 404], `cut after ${cut}`)
  }
  t.throws(() => new AnswerReader().read(Buffer.from('HTTP/1.1 200 OK\r\n\r\n')), /no length/)
})

t.test('frames come back as they were sent', async t => {
  const mask = Buffer.from([1, 2, 3, 4])
  const payloads = [Buffer.from('first'), Buffer.alloc(125, 7)]
  const bytes = Buffer.concat([frame(payloads[0]!, mask), frame(payloads[1]!, null), Buffer.of(0x88, 0)])
  for (let cut = 1; cut < bytes.length; cut++) {
    const reader = new FrameReader()
    const seen = [...reader.read(bytes.subarray(0, cut)), ...reader.read(bytes.subarray(cut))]
    t.strictSame(seen, payloads)
    t.ok(reader.closed, 'and the Close is seen')
  }
  t.throws(() => new FrameReader().read(Buffer.of(0x81, 1, 65)), /unexpected frame/, 'a text message')
  t.throws(() => frame(Buffer.alloc(126), null), /at most 125/)
})
