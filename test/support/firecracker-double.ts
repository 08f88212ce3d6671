/**
 * Firecracker without KVM: the same command line, the same API on a unix socket, the same order rules, refusals and endings,
 * with the demo application as its guest. What it says is what Firecracker 1.16.1 says, read from its sources and, for all
 * that needs no KVM, from the binary itself. It is there for the tests of the driver; `firecracker-node.ts` starts it.
 *
 *   Not started ──InstanceStart──▶ Running ◀──Resumed── Paused
 *        └──────snapshot/load──────────────────────────────▲ ◀──Paused── Running
 *
 * Requests are served one after the other, also while a snapshot is written. A load that fails ends the process.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { open, readFile, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { systemClock } from '../../lib/clock.ts'
import { GuestClient } from '../../lib/guest/client.ts'
import { guestEnv, type StateShape } from '../../lib/guest/protocol.ts'

const { values: args } = parseArgs({
  options: {
    'api-sock': { type: 'string' },
    id: { type: 'string' },
    level: { type: 'string' },
    'http-api-max-payload-size': { type: 'string', default: '51200' },
    // The double's own.
    'double-version': { type: 'string', default: '1.16.1' },
    'double-format': { type: 'string', default: '10.0.0' },
    'double-id': { type: 'string' },
    'double-guest-keeps-memory': { type: 'boolean', default: false },
    /** `METHOD /path=die|hang|refuse|refuse-and-end|die-after`, comma-separated. */
    'double-faults': { type: 'string', default: '' },
  },
})
const version = args['double-version']
const format = args['double-format']
const mib = 1024 * 1024
const magic = 'fc-double'

class Refused extends Error {
  readonly status: number
  constructor(message: string, status = 400) {
    super(message)
    this.status = status
  }
}

type Body = Record<string, unknown>
interface State {
  readonly memoryMib: number
  readonly cpus: number
  readonly interfaces: Record<string, string>
  readonly drives: Record<string, string>
  readonly hasMmds: boolean
  readonly hotplug: Body | null
  readonly balloon: Body | null
  /** What Firecracker has in the guest's memory, and this double beside it. */
  readonly shape: StateShape
  readonly env: Record<string, string>
  /** A diff of a restored VM, which lacks the pages that were never touched. */
  readonly partial: boolean
}

/**
 * From the network: guest port to host port, and the TAP devices that there are. A Firecracker that is root makes one that
 * is missing; this is one that may not.
 */
const ports = new Map((process.env.DOUBLE_PORTS ?? '').split(',').map(p => p.split(':') as [string, string]))
const taps = (process.env.DOUBLE_TAPS ?? '').split(',')

let phase: 'Not started' | 'Running' | 'Paused' = 'Not started'
let configured = false
let restored = false
const machine = { vcpu_count: 1, mem_size_mib: 128, smt: false, track_dirty_pages: false, huge_pages: 'None' }
let bootSource: Body | null = null
const drives: Record<string, string> = {}
const interfaces: Record<string, string> = {}
let mmds: { data: Body | null } | null = null
let hotplug: Body | null = null
let balloon: Body | null = null
let requested = 0

/** The guest: its thread, the cells that stop it, and its memory as it was when it was stopped. */
let worker: Worker | null = null
const cells = new Int32Array(new SharedArrayBuffer(8))
let env: Record<string, string> = {}
let memory: { shape: StateShape; bytes: Buffer } | null = null

const preBoot = () => {
  if (phase !== 'Not started')
    throw new Refused('The requested operation is not supported after starting the microVM.')
}
const postBoot = () => {
  if (phase === 'Not started')
    throw new Refused('The requested operation is not supported before starting the microVM.')
}

type Handler = (body: Body, id: string) => unknown

/** Fields that a body may have; others are refused, as by the real one. */
const fieldsOf: Record<string, readonly string[]> = {
  'PUT /machine-config': [
    'vcpu_count',
    'mem_size_mib',
    'smt',
    'cpu_template',
    'track_dirty_pages',
    'huge_pages',
  ],
  'PUT /boot-source': ['kernel_image_path', 'initrd_path', 'boot_args'],
  'PUT /drives': [
    ...['drive_id', 'partuuid', 'is_root_device', 'cache_type', 'is_read_only', 'path_on_host'],
    ...['rate_limiter', 'io_engine', 'socket'],
  ],
  'PUT /network-interfaces': [
    ...['iface_id', 'host_dev_name', 'guest_mac', 'mtu', 'rx_rate_limiter', 'tx_rate_limiter'],
  ],
  'PUT /mmds/config': ['version', 'network_interfaces', 'ipv4_address', 'imds_compat'],
  'PUT /entropy': ['rate_limiter'],
  'PUT /balloon': [
    ...['amount_mib', 'deflate_on_oom', 'stats_polling_interval_s', 'free_page_hinting'],
    'free_page_reporting',
  ],
  'PATCH /balloon': ['amount_mib'],
  'PUT /hotplug/memory': ['total_size_mib', 'slot_size_mib', 'block_size_mib'],
  'PATCH /hotplug/memory': ['requested_size_mib'],
  'PUT /actions': ['action_type'],
  'PATCH /vm': ['state'],
  'PUT /snapshot/create': ['snapshot_type', 'snapshot_path', 'mem_file_path'],
  'PUT /snapshot/load': [
    ...['snapshot_path', 'mem_backend', 'mem_file_path', 'enable_diff_snapshots', 'track_dirty_pages'],
    ...['resume_vm', 'network_overrides', 'vsock_override', 'clock_realtime'],
  ],
}

const handlers: Record<string, Handler> = {
  'GET /': () => ({
    app_name: 'Firecracker',
    id: args['double-id'] ?? args.id,
    state: phase,
    vmm_version: version,
  }),
  'GET /version': () => ({ firecracker_version: version }),
  'GET /machine-config': () => machine,
  'PUT /machine-config': body => {
    preBoot()
    configured = true
    const { vcpu_count: cpus, mem_size_mib: memoryMib } = body
    if (typeof cpus !== 'number' || cpus < 1 || cpus > 32)
      throw new Refused(
        'Machine config error: The number of vCPUs must be greater than 0, less than 32 and must be 1 or an even number if SMT is enabled.',
      )
    if (typeof memoryMib !== 'number' || memoryMib < 1)
      throw new Refused(
        'Machine config error: The memory size (MiB) is either 0, or not a multiple of the configured page size.',
      )
    Object.assign(machine, body)
  },
  'PUT /boot-source': body => {
    preBoot()
    configured = true
    if (!existsSync(String(body.kernel_image_path)))
      throw new Refused(
        'Boot source error: The kernel file cannot be opened: No such file or directory (os error 2)',
      )
    if (body.initrd_path !== undefined && !existsSync(String(body.initrd_path)))
      throw new Refused(
        'Boot source error: The initrd file cannot be opened due to invalid path or invalid permissions. No such file or directory (os error 2)',
      )
    bootSource = body
  },
  'PUT /drives': (body, id) => {
    preBoot()
    configured = true
    if (!existsSync(String(body.path_on_host)))
      throw new Refused(
        `Drive config error: Unable to create the virtio block device: Virtio backend error: Error manipulating the backing file: No such file or directory (os error 2) ${body.path_on_host}`,
      )
    drives[id] = String(body.path_on_host)
  },
  'PUT /network-interfaces': (body, id) => {
    preBoot()
    configured = true
    requireTap(String(body.host_dev_name), 'Network config error: Could not create the network device')
    interfaces[id] = String(body.host_dev_name)
  },
  'PUT /mmds/config': body => {
    preBoot()
    configured = true
    if (!(body.network_interfaces as string[]).every(id => id in interfaces))
      throw new Refused(
        'MMMDS config error: The list of network interface IDs provided contains at least one ID that does not correspond to any existing network interface.',
      )
    mmds ??= { data: null }
  },
  'PUT /mmds': body => {
    if (phase !== 'Not started' && mmds === null)
      throw new Refused('MMDS error: The MMDS data store is not initialized.')
    mmds ??= { data: null }
    mmds.data = body
  },
  'GET /mmds': () => mmds?.data ?? {},
  'PUT /entropy': () => {
    preBoot()
    configured = true
  },
  'PUT /balloon': body => {
    preBoot()
    configured = true
    balloon = body
  },
  'PATCH /balloon': body => {
    postBoot()
    if (balloon === null)
      throw new Refused('Balloon update error: Failed perform action on device: Device not found')
    balloon = { ...balloon, ...body }
  },
  'GET /balloon/statistics': () => {
    postBoot()
    if (balloon === null)
      throw new Refused('Internal VMM error: Failed perform action on device: Device not found')
    const target = Number(balloon.amount_mib)
    const actual = args['double-guest-keeps-memory'] ? 0 : target
    return { target_pages: target * 256, actual_pages: actual * 256, target_mib: target, actual_mib: actual }
  },
  'PUT /hotplug/memory': body => {
    preBoot()
    configured = true
    if (Number(body.total_size_mib) % Number(body.slot_size_mib ?? 128) !== 0)
      throw new Refused('Memory hotplug config error: Total size must be a multiple of slot size (128 MiB)')
    hotplug = body
  },
  'PATCH /hotplug/memory': body => {
    postBoot()
    const wanted = Number(body.requested_size_mib)
    if (hotplug === null || wanted > Number(hotplug.total_size_mib))
      throw new Refused('Memory hotplug update error: Failed to create memory hotplug device')
    requested = wanted
  },
  'GET /hotplug/memory': () => {
    postBoot()
    const plugged = args['double-guest-keeps-memory'] ? 0 : requested
    return { ...hotplug, plugged_size_mib: plugged, requested_size_mib: requested }
  },
  'PUT /actions': body => act(String(body.action_type)),
  'PATCH /vm': async body => {
    postBoot()
    if (body.state === 'Paused') await pause()
    else resume()
  },
  'PUT /snapshot/create': body => save(body),
  'PUT /snapshot/load': body => load(body),
}

async function act(action: string): Promise<void> {
  if (action === 'InstanceStart') {
    preBoot()
    if (bootSource === null)
      throw new Refused('Start microvm error: Cannot start microvm without kernel configuration.')
    env = readEnvironment((mmds?.data?.tidegate as Body)?.env as string)
    startGuest()
    phase = 'Running'
    return
  }
  postBoot()
  // The keyboard's interrupt waits for processors that are stopped.
  if (action === 'SendCtrlAltDel' && phase === 'Running') setImmediate(() => process.exit(0))
}

async function pause(): Promise<void> {
  if (phase === 'Paused') return
  const chunks: Uint8Array[] = []
  const { shape } = await agent().handOver(async chunk => void chunks.push(chunk), { timeoutMs: 60_000 })
  memory = { shape, bytes: Buffer.concat(chunks) }
  Atomics.store(cells, 0, 1)
  Atomics.store(cells, 1, 0)
  worker!.postMessage('pause')
  const waited = Atomics.waitAsync(cells, 1, 0)
  if (waited.async) await waited.value
  phase = 'Paused'
}

function resume(): void {
  Atomics.store(cells, 0, 0)
  Atomics.notify(cells, 0)
  phase = 'Running'
}

async function save({ snapshot_type: kind = 'Full', snapshot_path, mem_file_path }: Body): Promise<void> {
  postBoot()
  if (phase === 'Running')
    throw new Refused(
      'Create snapshot error: Cannot save the microVM state: Operation not allowed: save/restore unavailable while running',
    )
  const { shape, bytes } = memory!
  const state: State = {
    ...{ memoryMib: machine.mem_size_mib, cpus: machine.vcpu_count, interfaces, drives },
    ...{ hasMmds: mmds !== null, hotplug, balloon, shape, env, partial: kind === 'Diff' && restored },
  }
  const text = JSON.stringify(state)
  const sum = createHash('sha256').update(text).digest('hex')
  await writing('snapshot backing file', async () => {
    await writeFile(String(snapshot_path), `${magic} ${format} ${sum}\n${text}`)
  })
  await writing('memory backing file', async () => {
    const file = await open(String(mem_file_path), 'w')
    try {
      await file.truncate(machine.mem_size_mib * mib)
      const head = Buffer.alloc(8)
      head.writeBigUInt64LE(BigInt(bytes.length))
      await file.write(head, 0, 8, 0)
      for (let at = 0; at < bytes.length; at += mib) {
        const part = bytes.subarray(at, at + mib)
        await file.write(part, 0, part.length, 8 + at)
        await sleep(1)
      }
      await file.sync()
    } finally {
      await file.close()
    }
  })
}

async function writing(what: string, write: () => Promise<void>): Promise<void> {
  try {
    await write()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const words = code === 'ENOSPC' ? 'No space left on device (os error 28)' : String(error)
    throw new Refused(`Create snapshot error: Cannot perform open on the ${what}: ${words}`)
  }
}

/** Whatever goes wrong after the look at the configuration ends the process, once the answer is out. */
async function load(body: Body): Promise<void> {
  preBoot()
  if (configured)
    throw new Refused(
      'Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources.',
    )
  const backend = body.mem_backend as { backend_type: string; backend_path: string }
  try {
    if (faults.get('PUT /snapshot/load') === 'refuse-and-end')
      throw new Refused('Failed to get snapshot state from file: Unknown Network Device.')
    const state = await readState(String(body.snapshot_path))
    for (const { iface_id: id, host_dev_name: tap } of (body.network_overrides ?? []) as Record<
      string,
      string
    >[]) {
      if (!(id! in state.interfaces))
        throw new Refused('Failed to get snapshot state from file: Unknown Network Device.')
      state.interfaces[id!] = tap!
    }
    if (body.vsock_override)
      throw new Refused('Failed to get snapshot state from file: Unknown Vsock Device.')
    memory = { shape: state.shape, bytes: await readMemory(backend.backend_path, state) }
    for (const tap of Object.values(state.interfaces))
      requireTap(tap, 'Failed to build microVM from snapshot: Failed to restore devices')
    for (const path of Object.values(state.drives))
      if (!existsSync(path))
        throw new Refused(`Failed to build microVM from snapshot: Block: No such file or directory ${path}`)
    Object.assign(interfaces, state.interfaces)
    Object.assign(drives, state.drives)
    Object.assign(machine, { mem_size_mib: state.memoryMib, vcpu_count: state.cpus })
    ;({ hotplug, balloon, env } = state)
    mmds = state.hasMmds ? { data: null } : null
    restored = true
    startGuest()
    await agentAnswers()
    await agent().takeBack(memory.shape, Readable.from([memory.bytes]), { timeoutMs: 60_000 })
    phase = 'Running'
    await pause()
    if (body.resume_vm) resume()
  } catch (error) {
    setTimeout(() => process.exit(1), 5)
    const words = error instanceof Error ? error.message : String(error)
    throw new Refused(`Load snapshot error: Failed to restore from snapshot: ${words}`)
  }
}

async function readState(path: string): Promise<State> {
  const prefix = 'Failed to get snapshot state from file: Failed to load snapshot state from file'
  const whole = await readFile(path, 'utf8').catch(() => {
    throw new Refused(
      'Failed to get snapshot state from file: Failed to open snapshot file: No such file or directory (os error 2)',
    )
  })
  const [head = '', text = ''] = whole.split('\n')
  const [mark, written, sum] = head.split(' ')
  if (mark !== magic) throw new Refused(`${prefix}: An error occurred during bitcode serialization: EOF`)
  if (written!.split('.')[0] !== format.split('.')[0])
    throw new Refused(`${prefix}: Invalid data version: ${written}`)
  if (createHash('sha256').update(text).digest('hex') !== sum)
    throw new Refused(`${prefix}: CRC64 validation failed`)
  return JSON.parse(text)
}

async function readMemory(path: string, state: State): Promise<Buffer> {
  const prefix = 'Failed to load guest memory: Error creating guest memory from file'
  if (state.partial) throw new Refused(`${prefix}: (double) the pages of the base are missing`)
  const file = await open(path, 'r').catch(() => {
    throw new Refused(`${prefix}: Failed to load guest memory: No such file or directory (os error 2)`)
  })
  try {
    if ((await file.stat()).size !== state.memoryMib * mib)
      throw new Refused(`${prefix}: Failed to restore guest memory`)
    const head = Buffer.alloc(8)
    await file.read(head, 0, 8, 0)
    const bytes = Buffer.alloc(Number(head.readBigUInt64LE()))
    await file.read(bytes, 0, bytes.length, 8)
    return bytes
  } finally {
    await file.close()
  }
}

function requireTap(name: string, what: string): void {
  if (taps.includes(name)) return
  throw new Refused(
    `${what}: Open tap device failed: Error while creating ifreq structure: Invalid argument (os error 22). Invalid TUN/TAP Backend provided by ${name}. Check our documentation on setting up the network devices.`,
  )
}

/** As the guest's shell reads it. */
function readEnvironment(text = ''): Record<string, string> {
  const lines = text.matchAll(/^([A-Za-z_]\w*)='((?:[^']|'\\'')*)'$/gm)
  return Object.fromEntries([...lines].map(([, name, value]) => [name!, value!.replaceAll("'\\''", "'")]))
}

function startGuest(): void {
  const guest: Record<string, string> = {
    ...env,
    HOST: '127.0.0.1',
    PORT: ports.get(env.PORT!)!,
    [guestEnv.port]: ports.get(env[guestEnv.port]!)!,
  }
  // It would set this machine's clock and name.
  delete guest[guestEnv.vm]
  const main = join(import.meta.dirname, '../../examples/app/server.ts')
  worker = new Worker(join(import.meta.dirname, 'firecracker-double-guest.ts'), {
    env: guest,
    workerData: { main, cells },
  })
  worker.once('exit', () => process.exit(0))
}

function agent(): GuestClient {
  const port = Number(ports.get(env[guestEnv.port]!))
  return new GuestClient({ host: '127.0.0.1', port }, env[guestEnv.token]!, systemClock)
}

async function agentAnswers(): Promise<void> {
  for (;;) {
    const up = await agent()
      .ping({ timeoutMs: 1_000 })
      .catch(() => null)
    if (up !== null) return
    await sleep(5)
  }
}

const faults = new Map(args['double-faults'].split(',').map(fault => fault.split('=') as [string, string]))

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  const text = Buffer.concat(chunks).toString('utf8')
  const [path, id] = route(request.url ?? '/')
  const key = `${request.method} ${path}`
  let status = 204
  let answer: unknown
  try {
    const fault = faults.get(key)
    if (fault === 'die') process.kill(process.pid, 'SIGKILL')
    if (fault === 'hang') process.kill(process.pid, 'SIGSTOP')
    if (fault === 'refuse') throw new Refused('(double) refused as asked')
    if (text.length > Number(args['http-api-max-payload-size']))
      throw new Refused('Request payload with size larger than the limit', 413)
    answer = await handle(key, request.method!, text, id)
    if (fault === 'die-after') process.kill(process.pid, 'SIGKILL')
  } catch (error) {
    status = error instanceof Refused ? error.status : 500
    answer = { fault_message: error instanceof Error ? error.message : String(error) }
  }
  if (answer !== undefined && status === 204) status = 200
  const body = answer === undefined ? '' : JSON.stringify(answer)
  response.writeHead(status, {
    server: 'Firecracker API',
    connection: 'keep-alive',
    ...(body === '' ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
  })
  response.end(body)
}

function handle(key: string, method: string, text: string, id: string): unknown {
  const handler = Object.hasOwn(handlers, key) ? handlers[key] : undefined
  if (handler === undefined)
    throw new Refused(`Invalid request method and/or path: ${key.replace(' /', ' ')}.`)
  if (method === 'GET') {
    if (text !== '') throw new Refused('GET request cannot have a body.')
    return handler({}, id)
  }
  if (text === '') throw new Refused(`Empty ${method} request.`)
  let body: Body
  try {
    body = JSON.parse(text)
  } catch (error) {
    throw new Refused(`An error occurred when deserializing the json body of a request: ${error}.`)
  }
  const known = fieldsOf[key]
  const stranger = known && Object.keys(body).find(name => !known.includes(name))
  if (stranger)
    throw new Refused(
      `An error occurred when deserializing the json body of a request: unknown field \`${stranger}\`, expected one of ${known.map(name => `\`${name}\``).join(', ')} at line 1 column 1.`,
    )
  return handler(body, id)
}

/** `/drives/rootfs` is the resource `/drives` with an id. */
function route(url: string): [string, string] {
  const match = /^\/(drives|network-interfaces)\/(\w+)$/.exec(url)
  return match ? [`/${match[1]}`, match[2]!] : [url, '']
}

function main(): void {
  const socket = args['api-sock']!
  // One request after the other, whatever connection it came on.
  let last: Promise<unknown> = Promise.resolve()
  const server = createServer((request, response) => {
    last = last.then(() => serve(request, response)).catch(error => console.error(error))
  })
  server.listen(socket)
}

main()
