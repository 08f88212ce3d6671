/**
 * A script: TLS connections one after another in several slots, each for one request; with a session to resume, or without.
 * It counts how many were resumed, because a server may always refuse to.
 */
import { readFileSync } from 'node:fs'
import { connect } from 'node:tls'
import { inParallel, serveLoad } from './driver.ts'

export interface HandshakesOptions {
  readonly port: number
  readonly certificate: string
  readonly resume: boolean
  readonly concurrency: number
  readonly seconds: number
}

export interface HandshakesReport {
  readonly handshakes: number
  readonly resumed: number
  readonly seconds: number
  readonly errors: number
  readonly protocol: string
}

interface Visit {
  readonly resumed: boolean
  readonly session: Buffer | null
  readonly protocol: string
}

const request = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
const timeoutMs = 10_000

async function shakeHands(
  { port, resume, seconds, concurrency }: HandshakesOptions,
  ca: Buffer,
  sessions: (Buffer | null)[],
): Promise<HandshakesReport> {
  let [handshakes, resumed, errors, protocol] = [0, 0, 0, '']
  const begun = performance.now()
  const untilMs = begun + seconds * 1_000
  const slot = async (index: number) => {
    while (performance.now() < untilMs) {
      try {
        const visited = await visit(port, ca, resume ? sessions[index]! : null)
        handshakes++
        if (visited.resumed) resumed++
        protocol = visited.protocol
        sessions[index] = visited.session ?? sessions[index]!
      } catch {
        errors++
      }
    }
  }
  await Promise.all(Array.from({ length: concurrency }, (_, index) => slot(index)))
  return { handshakes, resumed, seconds: (performance.now() - begun) / 1_000, errors, protocol }
}

/** A connection, a request, its answer, the end. */
function visit(port: number, ca: Buffer, session: Buffer | null): Promise<Visit> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: '127.0.0.1',
      port,
      servername: 'localhost',
      ca,
      ALPNProtocols: ['http/1.1'],
      // One curve that all of them have: newer libraries would take a dearer one by themselves.
      ecdhCurve: 'X25519',
      ...(session ? { session } : {}),
    })
    let kept: Buffer | null = null
    let answer = ''
    let resumed = false
    let protocol = ''
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error('no answer in time')))
    socket.on('session', fresh => {
      kept = fresh
    })
    socket.on('secureConnect', () => {
      resumed = socket.isSessionReused()
      protocol = socket.getProtocol() ?? ''
      socket.write(request)
    })
    socket.setEncoding('latin1')
    socket.on('data', text => {
      answer += text
    })
    socket.on('error', reject)
    socket.on('close', () => {
      if (answer.startsWith('HTTP/1.1 200') && answer.includes('x'.repeat(100)))
        resolve({ resumed, session: kept, protocol })
      else reject(new Error(`the answer is ${JSON.stringify(answer.slice(0, 60))}`))
    })
  })
}

if (import.meta.main) {
  await serveLoad<HandshakesOptions>(async options => {
    const ca = readFileSync(options.certificate)
    const sessions: (Buffer | null)[] = Array.from({ length: options.concurrency }, () => null)
    // Every slot has visited once before it counts: only then is there a session to resume.
    await inParallel(options.concurrency, 4, async slot => {
      sessions[slot] = (await visit(options.port, ca, null)).session
    })
    return () => shakeHands(options, ca, sessions)
  })
}
