/** A driver under test in a folder of its own, and eyes on what it leaves behind: processes and files. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Resources } from '../../lib/config/config.ts'
import type {
  CloneSpec,
  Driver,
  Endpoint,
  HeldInstance,
  Identity,
  InstanceSpec,
} from '../../lib/hypervisor/driver.ts'
import { fullDisk } from './full-disk.ts'
import { get } from './load.ts'
import { until } from './wait.ts'

export const owner = { installation: 'contract', cluster: 'web', operation: 'op1' } as const

export type Kind = 'instances' | 'snapshots'

/**
 * The world that a driver works in, as somebody sees it who stands beside: what is there, what applications answer, and how things are
 * spoilt from outside. The real one is folders, `/proc` and HTTP; a double that has none of these brings its own.
 */
export interface Ground {
  /** Ids of what runs of ours. */
  processes(): readonly number[]
  /** Unix sockets of ours that somebody listens on. */
  sockets(): readonly string[]
  files(kind: Kind): readonly string[]
  /** Of those, what others than we may read. */
  exposed(): readonly string[]
  ask(
    instance: HeldInstance,
    path: string,
    body?: string,
  ): Promise<{ readonly status: number; readonly body: string }>
  /** Puts something there that no driver of this version made; null: with no record at all. */
  plant(kind: Kind, name: string, record: string | null): void
  /** A driver for a node that cannot be asked, over what was planted. */
  unreachable(): Driver
  /** Ends what runs, as a crash does. */
  kill(instance: HeldInstance): void
  /** No room for a snapshot while `test` runs. */
  full(t: Test, test: () => Promise<void>): Promise<void>
  /** Its owner was on record before it ran. */
  recordedFirst(instance: HeldInstance): boolean
}

export interface BenchOptions {
  makeDriver(directory: string): Driver
  /** Default: this machine. */
  readonly ground?: (directory: string) => Ground
  /** A template whose application is `examples/app/server.ts`. */
  readonly template: Readonly<Record<string, unknown>>
  readonly resources: Resources
  /** The application's port inside the instance. */
  readonly port: number
  /** The template has a disk, and the application keeps its files there. */
  readonly disk?: boolean
  /** Its guest can tell how many processors and how much memory it has; of those that cannot, the driver's own tests have it. */
  readonly grows?: boolean
  /** For one operation of the driver, boot included. */
  readonly timeoutMs: number
}

export class Bench {
  readonly directory = mkdtempSync(join(tmpdir(), 'tidegate-driver-'))
  readonly driver: Driver
  readonly options: BenchOptions
  readonly ground: Ground

  constructor(t: Test, options: BenchOptions) {
    this.options = options
    this.ground = options.ground?.(this.directory) ?? machine(this.directory, options)
    this.driver = options.makeDriver(this.directory)
    t.teardown(async () => {
      for (const { name, state } of options.ground ? (await this.driver.inspect()).instances : [])
        if (state !== 'unknown') await this.driver.stop(name, 0)
      if (!options.ground) for (const pid of this.processes()) process.kill(pid, 'SIGKILL')
      await until('every process is gone', () => this.processes().length === 0)
      rmSync(this.directory, { recursive: true, force: true })
    })
  }

  spec(name: string): InstanceSpec {
    const { port, resources, template } = this.options
    return { name, owner, port, resources, template }
  }

  cloneSpec(name: string, snapshot: string): CloneSpec {
    return { ...this.spec(name), snapshot }
  }

  signal(): AbortSignal {
    return AbortSignal.timeout(this.options.timeoutMs)
  }

  /** Created, identified, and answering. */
  async running(name: string): Promise<HeldInstance> {
    const instance = await this.driver.create(this.spec(name), this.signal())
    await this.answers(instance)
    await this.driver.identify(name, identity(name, 'created'), this.signal())
    return instance
  }

  async held(name: string): Promise<HeldInstance | undefined> {
    return (await this.driver.inspect()).instances.find(instance => instance.name === name)
  }

  answers(instance: HeldInstance): Promise<unknown> {
    const probe = async () => (await this.ask(instance, '/healthz')).status === 200
    return until(`${instance.name} answers`, probe, this.options.timeoutMs)
  }

  ask(instance: HeldInstance, path: string, body?: string) {
    return this.ground.ask(instance, path, body)
  }

  /** The parsed answer of a request that must succeed. */
  async told(instance: HeldInstance, path: string): Promise<Record<string, unknown>> {
    return parsed(path, await this.ask(instance, path))
  }

  processes(): readonly number[] {
    return this.ground.processes()
  }

  files(kind: Kind): readonly string[] {
    return this.ground.files(kind)
  }
}

function machine(directory: string, { makeDriver }: BenchOptions): Ground {
  const files = (kind: Kind): readonly string[] => {
    try {
      return readdirSync(join(directory, kind), { recursive: true }).map(String).sort()
    } catch {
      return []
    }
  }
  return {
    files,
    ask,
    recordedFirst: instance => recordedBeforeStarted(directory, instance),
    processes: () => processesOf(directory),
    sockets: () => {
      const lines = readFileSync('/proc/net/unix', 'utf8').split('\n')
      return lines.filter(line => line.includes(directory))
    },
    /** Directories 0700, and no file that others may read. */
    exposed: () =>
      (['instances', 'snapshots'] as const).flatMap(kind =>
        files(kind).filter(file => {
          const stats = statSync(join(directory, kind, file))
          return stats.isDirectory() ? (stats.mode & 0o777) !== 0o700 : (stats.mode & 0o077) !== 0
        }),
      ),
    plant: (kind, name, record) => {
      mkdirSync(join(directory, kind, name), { recursive: true })
      if (record !== null) writeFileSync(join(directory, kind, name, 'owner.json'), record)
    },
    unreachable: () => makeDriver(join(directory, 'instances', 'torn', 'owner.json')),
    kill: ({ pid }) => void process.kill(pid!, 'SIGKILL'),
    full: (t, test) => fullDisk(t, join(directory, 'snapshots'), test),
  }
}

/** Ids of the living processes that have the folder's path in their command line or environment. */
function processesOf(directory: string): readonly number[] {
  return readdirSync('/proc').flatMap(name => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return []
    try {
      const text =
        readFileSync(`/proc/${name}/cmdline`, 'utf8') + readFileSync(`/proc/${name}/environ`, 'utf8')
      return text.includes(directory) ? [Number(name)] : []
    } catch {
      return []
    }
  })
}

/** By the birth of the directory that carries the record, and the start of the process in clock ticks of 10 ms. */
function recordedBeforeStarted(directory: string, instance: HeldInstance): boolean {
  const born = statSync(join(directory, 'instances', instance.name)).birthtimeMs
  const stat = readFileSync(`/proc/${instance.pid}/stat`, 'utf8')
  const ticks = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19])
  const uptimeMs = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000
  const startedMs = Date.now() - (uptimeMs - ticks * 10)
  return born <= startedMs + 20
}

/** When those who are told that they are clones were copied, as it seems. */
export const copiedAtMs = 1_700_000_000_000

export function identity(instanceId: string, reason: Identity['reason'], source = 'web-op1-1'): Identity {
  return {
    instanceId,
    incarnation: `inc-${instanceId}`,
    cluster: 'web',
    reason,
    entropy: Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('base64'),
    wallClockMs: Date.now(),
    ...(reason === 'cloned' ? { clonedFrom: { instanceId: source, atMs: copiedAtMs } } : {}),
  }
}

export function ask(instance: { readonly address: Endpoint | null }, path: string, body?: string) {
  const { host, port } = instance.address!
  return get(port, path, body === undefined ? { host } : { host, method: 'POST', body })
}

/** The parsed answer of a request that must succeed. */
export async function told(instance: { readonly address: Endpoint | null }, path: string) {
  return parsed(path, await ask(instance, path))
}

function parsed(path: string, { status, body }: { readonly status: number; readonly body: string }) {
  if (status !== 200) throw new Error(`${path}: status ${status}: ${body}`)
  return JSON.parse(body) as Record<string, unknown>
}
