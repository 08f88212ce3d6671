/**
 * The guest of the double: the demo application in a process that ends with its hypervisor, and the way in from outside.
 * A TAP's name says which two ports of 127.0.0.1 lead to the application and to its agent (network.ts).
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { systemClock } from '../../../lib/clock.ts'
import { GuestClient } from '../../../lib/guest/client.ts'
import { guestEnv, type StateShape } from '../../../lib/guest/protocol.ts'
import { until } from '../wait.ts'

/** What the guest has in memory. */
export interface Image {
  readonly environment: Readonly<Record<string, string>>
  /** Null: the application had not come up. */
  readonly shape: StateShape | null
  readonly state: Buffer
}

const agentSocket = 'guest.sock'
const callTimeoutMs = 20_000
const main = join(import.meta.dirname, '../../../examples/app/server.ts')

export class DoubleGuest {
  readonly ended: Promise<unknown>
  readonly #app: ChildProcess
  readonly #agent: Server
  readonly #client: GuestClient
  readonly #environment: Readonly<Record<string, string>>

  private constructor(environment: Readonly<Record<string, string>>, tap: string, listens: boolean) {
    const [app, agent] = [tap.slice(2, 6), tap.slice(6, 10)].map(hex => Number.parseInt(hex, 16))
    this.#environment = environment
    // Without the right to name the host and set its clock, which a guest in a VM has.
    const { [guestEnv.vm]: _vm, [guestEnv.port]: _port, ...settings } = environment
    const env = {
      ...process.env,
      ...settings,
      HOST: '127.0.0.1',
      PORT: String(app),
      [guestEnv.socket]: resolve(agentSocket),
    }
    const command = ['--pdeathsig', 'KILL', process.execPath, main]
    this.#app = spawn('setpriv', command, { env, stdio: ['ignore', 'ignore', 'inherit'] })
    this.ended = once(this.#app, 'exit')
    this.#agent = createServer(outside => {
      const inside = connect(resolve(agentSocket))
      for (const [one, other] of [
        [outside, inside],
        [inside, outside],
      ] as const) {
        one.on('error', () => other.destroy())
        one.pipe(other)
      }
    })
    if (listens) this.#agent.listen(agent, '127.0.0.1')
    this.#client = new GuestClient(
      { socketPath: resolve(agentSocket) },
      settings[guestEnv.token] ?? '',
      systemClock,
    )
  }

  static async boot(initramfs: Buffer, tap: string, listens: boolean): Promise<DoubleGuest> {
    return new DoubleGuest(environmentIn(initramfs), tap, listens)
  }

  /** Stands still when it is there. */
  static async restore(image: Image, tap: string): Promise<DoubleGuest> {
    const guest = new DoubleGuest(image.environment, tap, true)
    if (image.shape !== null) {
      const options = { timeoutMs: callTimeoutMs }
      await until('the agent answers', () => guest.#client.ping(options))
      await guest.#client.takeBack(image.shape, Readable.from([image.state]), options)
    }
    guest.#app.kill('SIGSTOP')
    return guest
  }

  async pause(): Promise<Image> {
    const chunks: Uint8Array[] = []
    const write = async (chunk: Uint8Array) => {
      chunks.push(chunk)
    }
    const report = await this.#client.handOver(write, { timeoutMs: callTimeoutMs }).catch(() => null)
    this.#app.kill('SIGSTOP')
    return { environment: this.#environment, shape: report?.shape ?? null, state: Buffer.concat(chunks) }
  }

  resume(): void {
    this.#app.kill('SIGCONT')
  }

  kill(): void {
    this.#agent.close()
    this.#app.removeAllListeners('exit')
    this.#app.kill('SIGKILL')
  }
}

/** An image as bytes, filled up to the size of a memory with nothing. */
export function packed({ environment, shape, state }: Image, size?: number): Buffer {
  const head = Buffer.from(JSON.stringify({ environment, shape, bytes: state.length }))
  const length = Buffer.alloc(8)
  length.writeUInt32LE(head.length)
  const whole = Buffer.concat([length, head, state])
  return size === undefined ? whole : Buffer.concat([whole], size)
}

/** Reads what was packed into a file, and none of what it was filled up with. */
export function unpacked(path: string): Image {
  const file = openSync(path, 'r')
  try {
    const piece = (at: number, length: number) => {
      const buffer = Buffer.alloc(length)
      readSync(file, buffer, 0, length, at)
      return buffer
    }
    const end = 8 + piece(0, 8).readUInt32LE()
    const { environment, shape, bytes } = JSON.parse(piece(8, end - 8).toString())
    return { environment, shape, state: piece(end, bytes) }
  } finally {
    closeSync(file)
  }
}

/** What the guest's first process would read: the shell assignments in the last archive of the initial file system. */
function environmentIn(initramfs: Buffer): Record<string, string> {
  const name = 'tidegate/env\0'
  const at = initramfs.lastIndexOf(name)
  const header = initramfs.toString('latin1', at - 110, at)
  if (at < 0 || !header.startsWith('070701'))
    throw new Error('there is no environment in the initial file system')
  const length = Number.parseInt(header.slice(6 + 6 * 8, 6 + 7 * 8), 16)
  const start = at + name.length + ((4 - ((110 + name.length) % 4)) % 4)
  const text = initramfs.toString('utf8', start, start + length)
  const lines = text.matchAll(/^(\w+)='((?:[^']|'\\'')*)'$/gm)
  return Object.fromEntries([...lines].map(([, key, value]) => [key!, value!.replaceAll("'\\''", "'")]))
}
