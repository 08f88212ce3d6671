/** What the two demos share: start the server on a temporary state folder, say what to try, end everything on Ctrl-C. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  type Config,
  createDriver,
  createLog,
  parseConfig,
  startServer,
  systemClock,
  TidegateError,
} from '../lib/index.ts'

const shutdownGraceMs = 2_000
const readyPollMs = 100
const readyTimeoutMs = 180_000

export async function runDemo(options: { config: string; argv: readonly string[] }): Promise<number> {
  const state = await mkdtemp(join(tmpdir(), 'tidegate-demo-'))
  try {
    const config = await loadDemo(options, state)
    return await serve(config)
  } catch (error) {
    if (!(error instanceof TidegateError)) throw error
    console.error(error.message)
    if (error.code === 'port_in_use') console.error('Try: npm start -- --port 8081 --admin-port 9091')
    return 1
  } finally {
    await rm(state, { recursive: true, force: true })
  }
}

async function loadDemo(
  options: { config: string; argv: readonly string[] },
  state: string,
): Promise<Config> {
  const { values } = parseArgs({
    args: [...options.argv],
    options: { port: { type: 'string' }, 'admin-port': { type: 'string' } },
  })
  const file = join(import.meta.dirname, options.config)
  const text = await readFile(file, 'utf8')
  const parsed = parseConfig(text, { file, directory: import.meta.dirname, cpus: 2 })
  if ('faults' in parsed)
    throw new TidegateError('invalid_config', parsed.faults.map(f => `${f.path}: ${f.message}`).join('\n'))
  const { config } = parsed
  return {
    ...config,
    listeners: [{ host: '127.0.0.1', port: Number(values.port ?? 8080) }],
    admin: { ...config.admin, port: Number(values['admin-port'] ?? 9090) },
    store: { kind: 'sqlite', path: join(state, 'tidegate.db') },
    nodes: config.nodes.map(node => ({ ...node, directory: join(state, node.id) })),
    shutdown: { graceMs: shutdownGraceMs, tunnels: 'close', closeCode: 1001, closeSpreadMs: 0 },
  }
}

async function serve(config: Config): Promise<number> {
  const log = createLog('warn')
  const stopped = new Promise<void>(resolve => {
    process.once('SIGINT', resolve)
    process.once('SIGTERM', resolve)
  })
  const server = await startServer(config, { log })
  try {
    const { port } = server.listeners[0]!
    const cluster = config.clusters[0]!.id
    const serving = () => server.control.backends(cluster).some(backend => backend.state === 'ready')
    await Promise.race([until(serving), stopped])
    if (serving()) sayWhatToTry(port, server.admin.port)
    await stopped
    console.log('\nStopping: finishing what is in flight, then ending the instances …')
  } finally {
    await server.close()
    await endInstances(config)
  }
  return 0
}

function sayWhatToTry(port: number, adminPort: number): void {
  const url = `http://127.0.0.1:${port}`
  const cli = `npm run -s tidegate --${adminPort === 9090 ? '' : ` --admin http://127.0.0.1:${adminPort}`}`
  console.log(
    `Tidegate serves ${url} (admin http://127.0.0.1:${adminPort}). Open it in a browser, or try in a second terminal:`,
  )
  console.log(
    `  1. curl -d 'a cup of tea' ${url}/sessions/mine      something for the memory of the one instance`,
  )
  console.log(
    `  2. ${cli} scale demo --to 4      clone it three times, memory and all, without a failed request`,
  )
  console.log(`  3. curl ${url}/sessions/mine      again and again: another instance each time, the same tea`)
  console.log(`  4. ${cli} status demo      who serves, with how many exchanges, tunnels and sessions`)
  console.log(
    `  5. ${cli} scale demo --to 1      drain and destroy three; Ctrl-C here ends the demo and cleans up`,
  )
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = systemClock.monotonic() + readyTimeoutMs
  while (!condition()) {
    if (systemClock.monotonic() > deadline) {
      throw new TidegateError(
        'instance_unhealthy',
        `The first instance did not become ready within ${readyTimeoutMs / 1000} s.`,
      )
    }
    await systemClock.sleep(readyPollMs)
  }
}

/** Instances outlive the server on purpose; a demo should leave nothing behind. */
async function endInstances(config: Config): Promise<void> {
  for (const node of config.nodes) {
    const driver = createDriver(node, { clock: systemClock, log: createLog('warn') })
    const held = await driver.inspect()
    await Promise.all([...held.instances, ...held.snapshots].map(({ name }) => driver.destroy(name)))
  }
}
