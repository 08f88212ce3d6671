/**
 * Before anything is measured, each subject has to answer correctly: the right status and bytes, the whole body and the
 * client's fields at the origin, the client's address passed on, one client connection for several requests, and one connection
 * to the origin for many. A subject that does less than the others would look faster than it is.
 */
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Agent, type IncomingMessage, request } from 'node:http'
import { Agent as TlsAgent, request as tlsRequest } from 'node:https'
import { largeBytes, smallBody } from './origin/origin.ts'
import type { OriginPorts } from './row.ts'

export interface CheckOptions {
  readonly port: number
  /** The certificate that a TLS listener must show; null: plain text. */
  readonly certificate: string | null
  readonly origin: OriginPorts
}

interface Answer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
  /** The client's own port: the same for two answers on one connection. */
  readonly clientPort: number
}

const timeoutMs = 10_000
const requestsInARow = 20
/** A pool may open one connection more than it needs when the first was not back in time. */
const originConnectionsMax = 3

/** What is wrong with the subject's answers; empty: nothing. */
export async function faultsOf(options: CheckOptions): Promise<readonly string[]> {
  const client = new Client(options)
  try {
    const faults = [
      ...smallFaults(await client.ask('GET', '/')),
      ...(await bodyFaults(client)),
      ...(await largeFaults(client)),
      ...(await connectionFaults(client, options.origin)),
    ]
    return faults
  } catch (error) {
    return [`a check failed: ${(error as Error).message}`]
  } finally {
    client.close()
  }
}

function smallFaults({ status, body }: Answer): readonly string[] {
  if (status !== 200) return [`GET / is answered ${status}`]
  return body.toString() === smallBody ? [] : [`GET / has another body (${body.length} bytes)`]
}

async function bodyFaults(client: Client): Promise<readonly string[]> {
  const sent = randomBytes(10 * 1_024)
  const { status, body } = await client.ask('POST', '/mirror?a=1', sent)
  if (status !== 200) return [`POST /mirror is answered ${status}`]
  const seen = JSON.parse(body.toString()) as {
    method: string
    url: string
    headers: Record<string, string | undefined>
    bodySha256: string
  }
  const { headers } = seen
  const forwarded = `${headers['x-forwarded-for'] ?? ''} ${headers.forwarded ?? ''}`
  const faults: string[] = []
  const expect = (fine: boolean, what: string) => {
    if (!fine) faults.push(what)
  }
  expect(seen.method === 'POST' && seen.url === '/mirror?a=1', `it forwards ${seen.method} ${seen.url}`)
  expect(seen.bodySha256 === sha256(sent), 'the body arrives changed')
  expect(headers['x-bench'] === 'yes', "a field of the client's does not arrive")
  expect(/127\.0\.0\.1/.test(forwarded), "the client's address is not passed on")
  expect(headers['x-seen-version'] === 'HTTP/1.1', `it speaks ${headers['x-seen-version']} to the origin`)
  expect(headers['x-seen-connection']?.toLowerCase() !== 'close', 'it closes its connections to the origin')
  return faults
}

async function largeFaults(client: Client): Promise<readonly string[]> {
  const { status, body } = await client.ask('GET', '/1m')
  const whole = status === 200 && body.length === largeBytes && body.every(byte => byte === 0x78)
  return whole ? [] : [`GET /1m is answered ${status} with ${body.length} bytes`]
}

async function connectionFaults(client: Client, origin: OriginPorts): Promise<readonly string[]> {
  const before = await origin.counts()
  const ports = new Set<number>()
  for (let i = 0; i < requestsInARow; i++) ports.add((await client.ask('GET', '/')).clientPort)
  const opened = (await origin.counts()).connections - before.connections
  const faults: string[] = []
  if (ports.size > 1) faults.push(`it used ${ports.size} client connections for ${requestsInARow} requests`)
  if (opened > originConnectionsMax)
    faults.push(`it opened ${opened} connections to the origin for ${requestsInARow} requests in a row`)
  return faults
}

class Client {
  readonly #agent: Agent | TlsAgent
  readonly #options: CheckOptions

  constructor(options: CheckOptions) {
    this.#options = options
    this.#agent = options.certificate
      ? new TlsAgent({ keepAlive: true, maxSockets: 1, ca: readFileSync(options.certificate) })
      : new Agent({ keepAlive: true, maxSockets: 1 })
  }

  ask(method: string, path: string, body?: Buffer): Promise<Answer> {
    const { port, certificate } = this.#options
    const headers = { 'X-Bench': 'yes', ...(body ? { 'Content-Length': body.length } : {}) }
    const options = { host: '127.0.0.1', port, path, method, headers, agent: this.#agent, timeout: timeoutMs }
    return new Promise((resolve, reject) => {
      const receive = (response: IncomingMessage) => {
        const clientPort = response.socket.localPort ?? 0
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          const { statusCode = 0, headers: fields } = response
          resolve({ status: statusCode, headers: fields, body: Buffer.concat(chunks), clientPort })
        })
      }
      const outgoing = certificate
        ? tlsRequest({ ...options, servername: 'localhost' }, receive)
        : request(options, receive)
      outgoing.on('timeout', () => outgoing.destroy(new Error(`${method} ${path}: no answer in time`)))
      outgoing.on('error', reject)
      outgoing.end(body)
    })
  }

  close(): void {
    this.#agent.destroy()
  }
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
