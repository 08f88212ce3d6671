/**
 * One GET on a connection of its own. Its status passes or not; beyond that the application may say of itself that it is
 * degraded, or that it wants no new clients, by a header or by a status that the config names for it. Such a word passes
 * whatever the status is: an application may tell us `draining` and everybody else 503 with the same answer.
 */
import { request } from 'node:http'
import { connect, isIP } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { StatusRange } from '../../config/config.ts'
import type { Verdict } from '../health.ts'
import type { Ask, ProbeConfig, ProbeTarget } from './probe.ts'
import { failure, hostAndPort, selfReport, selfReportHeader, unanswered } from './words.ts'

/** More of an answer's body than this is not read: its head has said what was asked. */
const bodyBytesMax = 64 * 1024

export const askHttp: Ask = (target, config, end) => {
  const exchange = open(target, config)
  exchange.on('error', error => end(unanswered(error)))
  exchange.on('upgrade', (response, socket) => {
    socket.destroy()
    end({ ok: false, reason: `answered ${response.statusCode} to a plain GET` })
  })
  exchange.on('response', response => {
    const status = response.statusCode ?? 0
    const settle = () => end(verdictOf(status, response.headers[selfReportHeader], config))
    let bodyBytes = 0
    response.on('data', (chunk: Buffer) => {
      bodyBytes += chunk.length
      if (bodyBytes > bodyBytesMax) settle()
    })
    response.on('end', settle)
    response.on('error', error => end({ ok: false, reason: `answered ${status}, then ${failure(error)}` }))
  })
  exchange.end()
  return () => exchange.destroy()
}

function open({ host, port, tls }: ProbeTarget, config: ProbeConfig) {
  const headers = {
    host: config.host ?? hostAndPort(host, port),
    'user-agent': 'tidegate-health',
    connection: 'close',
  }
  // A connection for each check, and no agent: keeping account of connections costs as much as so small a request.
  const socket = tls ? openTls(host, port, tls) : connect({ host, port })
  try {
    return request({ host, port, path: config.path, headers, createConnection: () => socket })
  } catch (error) {
    socket.destroy()
    throw error
  }
}

function openTls(host: string, port: number, tls: NonNullable<ProbeTarget['tls']>) {
  // The name that is asked for is not the one that the certificate is for: traffic checks the backend's own.
  const servername = isIP(host) === 0 ? host : ''
  // A backend that is spoken HTTP/2 with by the data plane still gets its plain GET.
  return connectTls({ servername, ...tls, ALPNProtocols: ['http/1.1'], host, port })
}

function verdictOf(
  status: number,
  header: string | readonly string[] | undefined,
  config: ProbeConfig,
): Verdict {
  const { says, note } = selfReport(header)
  const word = says ?? byStatus(status, config)
  const ok = word !== 'ready' || within(config.expectStatus, status)
  const meaning = says === null && word !== 'ready' ? `, which means ${word}` : note
  return { ok, reason: `answered ${status}${meaning}`, says: word }
}

function byStatus(status: number, { drainingStatus, degradedStatus }: ProbeConfig) {
  if (within(drainingStatus, status)) return 'draining'
  return within(degradedStatus, status) ? 'degraded' : 'ready'
}

function within(ranges: readonly StatusRange[], status: number): boolean {
  return ranges.some(({ from, to }) => status >= from && status <= to)
}
