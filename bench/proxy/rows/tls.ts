/** The rows of TLS: a full handshake for each request, a resumed one, and HTTP/2 over connections that stay. */
import { run } from '../children.ts'
import { go, prepare } from '../load/driver.ts'
import type { HandshakesOptions, HandshakesReport } from '../load/handshakes.ts'
import { parseH2load } from '../load/parse.ts'
import type { Row } from '../row.ts'
import { workOf } from './http.ts'
import { busyColumn, cpuColumns, httpRow } from './http-row.ts'

const concurrency = 16
/** A round in which fewer of the handshakes were resumed (or more, where none should be) measured something else. */
const shareMin = 0.99

export const tlsFull = handshakeRow('tls-full', 'TLS 1.3, a full handshake for each GET', false)
export const tlsResumed = handshakeRow('tls-resumed', 'TLS 1.3, a resumed handshake for each GET', true)

function handshakeRow(id: string, title: string, resume: boolean): Row {
  return httpRow({
    id,
    title,
    tls: true,
    peers: ['haproxy', 'nginx', 'caddy', 'http-proxy-3'],
    load: () =>
      `own client, ${concurrency} at a time: connect, ${resume ? 'resume the session' : 'full handshake'} (X25519, ECDSA P-256 certificate), GET with \`Connection: close\``,
    columns: [...cpuColumns, { metric: 'per_second', label: 'handshakes/s', digits: 0 }, busyColumn],
    plotted: 'cpu_us',
    targets: [
      {
        what: `CPU per ${resume ? 'resumed' : 'full'} handshake and request against HAProxy's`,
        metric: 'cpu_us',
        ours: 'tidegate',
        theirs: 'haproxy',
        sense: 'at most',
        limit: 2.5,
      },
    ],
    work: async ({ certificate }, { port }, seconds) => {
      const options: HandshakesOptions = { port, certificate: certificate.cert, resume, concurrency, seconds }
      const client = await prepare('./handshakes.ts', options)
      try {
        const report = await go<HandshakesReport>(client)
        const { handshakes, resumed, errors, protocol } = report
        const asWanted = resume ? resumed : handshakes - resumed
        if (protocol !== 'TLSv1.3') throw new Error(`it speaks ${protocol}, not TLSv1.3`)
        if (asWanted < handshakes * shareMin)
          throw new Error(
            `only ${asWanted} of ${handshakes} handshakes were ${resume ? 'resumed' : 'full'} ones`,
          )
        return { pieces: handshakes, seconds: report.seconds, more: { errors } }
      } finally {
        await client.stop()
      }
    },
  })
}

const h2Connections = 8
const h2Streams = 8
const h2Command = (url: string, seconds: number) => [
  'h2load',
  '-t1',
  `-c${h2Connections}`,
  `-m${h2Streams}`,
  `-D${seconds}`,
  url,
]

/** Nothing is promised of HTTP/2: the row is there to be read. */
export const h2: Row = httpRow({
  id: 'h2',
  title: 'GET, 100-byte answer, HTTP/2 over TLS',
  tls: true,
  peers: ['haproxy', 'nginx', 'caddy'],
  needs: 'h2load',
  load: ({ settings: { seconds } }) => `\`${h2Command('https://127.0.0.1:PORT/', seconds).join(' ')}\``,
  columns: [...cpuColumns, { metric: 'per_second', label: 'requests/s', digits: 0 }, busyColumn],
  plotted: 'cpu_us',
  targets: [],
  work: async (_bench, { port }, seconds) => {
    const command = h2Command(`https://127.0.0.1:${port}/`, seconds)
    const text = await run('others', command, (seconds + 30) * 1_000)
    if (!/^Application protocol: h2$/m.test(text)) throw new Error('it does not speak HTTP/2')
    return workOf(parseH2load(text))
  },
})
