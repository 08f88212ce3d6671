/**
 * Tidegate, started as its users start it: `tidegate serve -c FILE`. What a build cannot do yet its own configuration check
 * says, so that a row can name it instead of failing.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { loadConfig } from '../../../lib/config/load.ts'
import { type Child, start, whenUp } from '../children.ts'
import { type Order, ownDirectory, type Running, type Subject } from './subject.ts'

const root = join(import.meta.dirname, '../../..')

export interface TidegateOptions {
  readonly threads?: number
  /** `listeners[].engine`; null: the build's own choice. */
  readonly engine?: string | null
  readonly cookieAffinity?: boolean
  /** A file, or absent for none. */
  readonly accessLog?: boolean
  /** A module that each of its threads loads first. */
  readonly preload?: string
  readonly env?: Readonly<Record<string, string>>
}

export const tidegate = (options: TidegateOptions = {}, name = 'tidegate'): Subject => ({
  name,
  howToGet: 'npm ci',
  eventLoops: Math.max(1, options.threads ?? 1),
  version: () => `Tidegate ${JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version}`,
  start: order => serve(order, options),
})

/** Why this build cannot be started so, in the words of its own check; null: it can. */
export async function unavailable(order: Order, options: TidegateOptions): Promise<string | null> {
  const result = await loadConfig(configFile(order, options))
  if (!('faults' in result)) return null
  const faults = result.faults.map(({ path, message }) => `${path}: ${message}`)
  return `not available in this build (${faults.join('; ')})`
}

async function serve(order: Order, options: TidegateOptions): Promise<Running> {
  const file = configFile(order, options)
  const preload = options.preload ? ['--import', options.preload] : []
  const main = join(root, 'lib/cli/main.ts')
  const command = [process.execPath, ...preload, main, 'serve', '-c', file]
  const child = start('subject', command, options.env ? { env: options.env } : {})
  const ports = await whenUp(child, async () => ({
    port: await portIn(child, /^serving on \S+:(\d+)$/),
    adminPort: await portIn(child, /^admin API on \S+:(\d+)$/),
  }))
  const log = options.accessLog ? { accessLog: accessLogBeside(file) } : {}
  return { pid: child.pid, ...ports, ...log, stop: () => child.stop() }
}

/** The port in the next line of its output that is meant for people to read so. */
async function portIn(child: Child, line: RegExp): Promise<number> {
  for (let read = 0; read < announcementLinesMax; read++) {
    const [, port] = line.exec(await child.line()) ?? []
    if (port !== undefined) return Number(port)
  }
  throw new Error(`it does not say where it listens (${line})`)
}

const announcementLinesMax = 50

/** JSON is YAML too. Nothing is set that a user would not have to set. */
function configFile({ originPort, certificate, scratch }: Order, options: TidegateOptions): string {
  const file = join(ownDirectory(scratch, 'tidegate'), 'tidegate.yaml')
  const { threads = 1, engine = null, cookieAffinity, accessLog } = options
  const listener = {
    address: '127.0.0.1:0',
    ...(engine === null ? {} : { engine }),
    ...(certificate
      ? {
          tls: { certificates: [{ cert: certificate.cert, key: certificate.key }], alpn: ['h2', 'http/1.1'] },
        }
      : {}),
  }
  const config = {
    listeners: [listener],
    threads,
    admin: { address: '127.0.0.1:0' },
    store: { kind: 'memory' },
    ...(accessLog ? { access_log: { path: accessLogBeside(file) } } : {}),
    clusters: [
      {
        id: 'web',
        backends: [{ id: 'origin', address: `127.0.0.1:${originPort}` }],
        ...(cookieAffinity ? { affinity: { method: 'cookie' } } : {}),
      },
    ],
  }
  writeFileSync(file, JSON.stringify(config, null, 2))
  return file
}

function accessLogBeside(configFile: string): string {
  return join(dirname(configFile), 'access.log')
}
