/** A driver under test in a folder of its own, and eyes on what it leaves behind: processes and files. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
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
import { get } from './load.ts'
import { until } from './wait.ts'

export const owner = { installation: 'contract', cluster: 'web', operation: 'op1' } as const

export interface BenchOptions {
  makeDriver(directory: string): Driver
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

  constructor(t: Test, options: BenchOptions) {
    this.options = options
    this.driver = options.makeDriver(this.directory)
    t.teardown(async () => {
      for (const pid of this.processes()) process.kill(pid, 'SIGKILL')
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
    const probe = async () => (await ask(instance, '/healthz')).status === 200
    return until(`${instance.name} answers`, probe, this.options.timeoutMs)
  }

  /** Ids of the living processes that have our folder's path in their command line or environment. */
  processes(): readonly number[] {
    return readdirSync('/proc').flatMap(name => {
      if (!/^\d+$/.test(name) || Number(name) === process.pid) return []
      try {
        const text =
          readFileSync(`/proc/${name}/cmdline`, 'utf8') + readFileSync(`/proc/${name}/environ`, 'utf8')
        return text.includes(this.directory) ? [Number(name)] : []
      } catch {
        return []
      }
    })
  }

  /** Unix sockets with our folder in their path that somebody listens on. */
  sockets(): readonly string[] {
    const lines = readFileSync('/proc/net/unix', 'utf8').split('\n')
    return lines.filter(line => line.includes(this.directory))
  }

  files(kind: 'instances' | 'snapshots'): readonly string[] {
    try {
      return readdirSync(join(this.directory, kind), { recursive: true }).map(String).sort()
    } catch {
      return []
    }
  }
}

export function identity(instanceId: string, reason: Identity['reason']): Identity {
  return {
    instanceId,
    incarnation: `inc-${instanceId}`,
    cluster: 'web',
    reason,
    entropy: Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('base64'),
    wallClockMs: Date.now(),
  }
}

export function ask(instance: { readonly address: Endpoint | null }, path: string, body?: string) {
  const { host, port } = instance.address!
  return get(port, path, body === undefined ? { host } : { host, method: 'POST', body })
}

/** The parsed answer of a request that must succeed. */
export async function told(instance: { readonly address: Endpoint | null }, path: string) {
  const { status, body } = await ask(instance, path)
  if (status !== 200) throw new Error(`${path}: status ${status}: ${body}`)
  return JSON.parse(body) as Record<string, unknown>
}
