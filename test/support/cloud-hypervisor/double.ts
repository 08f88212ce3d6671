/**
 * A stand-in for the Cloud Hypervisor program, written from its OpenAPI document and checked against version 53: the same
 * command line, API, status codes and files, without KVM. Its guest is a real application in a process of its own, which
 * is stopped when the VM is paused, and whose state is what the VM's memory holds.
 *
 * Faults come in the environment (`faults` in binary.ts). As in the real one, all calls are answered one after the other.
 */
import { createWriteStream, existsSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Faults } from './binary.ts'
import { DoubleVm, No } from './double-vm.ts'

const faults = JSON.parse(process.env.TIDEGATE_DOUBLE ?? '{}') as Faults
const { version } = faults
const started = performance.now()
const option = (name: string) =>
  (process.argv[process.argv.indexOf(`--${name}`) + 1] ?? '').replace(/^path=/, '')

serve()

function serve(): void {
  const events = createWriteStream(option('event-monitor'))
  const event = (source: string, name: string) => {
    const ms = performance.now() - started
    const timestamp = { secs: Math.floor(ms / 1000), nanos: Math.floor((ms % 1000) * 1e6) }
    events.write(`${JSON.stringify({ timestamp, source, event: name, properties: null }, null, 2)}\n\n`)
  }
  event('vmm', 'starting')
  const socket = option('api-socket')
  if (existsSync(socket)) throw new Error(`Error binding API server socket: ${socket} exists`)
  writeFileSync(`${socket}.lock`, '')
  const vm = new DoubleVm(faults, name => event('vm', name))
  let last: Promise<unknown> = Promise.resolve()
  createServer((request, response) => {
    last = last.then(() => answer(vm, request, response)).catch(() => response.destroy())
  }).listen(socket)
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(0))
}

async function answer(vm: DoubleVm, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const text = Buffer.concat(chunks).toString()
  response.setHeader('Server', 'Cloud Hypervisor API')
  response.setHeader('Content-Type', 'application/json')
  const endpoint = /^\/api\/v1\/(vmm?\.[a-z-]+)$/.exec(request.url ?? '')?.[1]
  try {
    const body = await act(vm, request.method ?? '', endpoint, text)
    response.writeHead(body === undefined ? 204 : 200)
    response.end(body === undefined ? undefined : JSON.stringify(body))
    if (endpoint === 'vmm.shutdown') response.once('finish', () => process.exit(0))
  } catch (error) {
    if (!(error instanceof No)) throw error
    response.writeHead(error.status).end(JSON.stringify(error.reasons))
  }
}

async function act(
  vm: DoubleVm,
  method: string,
  endpoint: string | undefined,
  text: string,
): Promise<unknown> {
  if (endpoint === undefined) throw new No(404, 'Not Found')
  if (method !== 'GET' && method !== 'PUT') throw new No(400, 'Bad Request')
  if (faults.slowMs?.[endpoint] !== undefined) {
    await new Promise(resolve => setTimeout(resolve, faults.slowMs![endpoint]))
  }
  if (endpoint === 'vmm.ping') {
    return { build_version: `v${version}`, version, pid: faults.pid ?? process.pid, features: ['kvm'] }
  }
  const isGet = endpoint === 'vm.info' || endpoint === 'vm.counters'
  if (isGet !== (method === 'GET')) throw new No(400, 'Bad Request')
  if (isGet) return endpoint === 'vm.info' ? vm.info() : vm.counters()
  if (faults.refuse?.[endpoint] !== undefined) throw new No(500, 'Error from API', faults.refuse[endpoint])
  const bare = vm.bare(endpoint)
  if (bare !== undefined) {
    // No body is wanted, and an empty object is one.
    if (text !== '') throw new No(400, 'Bad Request')
    return bare()
  }
  const known = vm.withBody(endpoint)
  if (known === undefined) throw new No(404, 'Not Found')
  if (text === '') throw new No(400, 'Bad Request')
  let body: Record<string, unknown>
  try {
    body = JSON.parse(text)
  } catch (error) {
    throw new No(400, 'Failed to deserialize JSON', String(error))
  }
  return known(body)
}
