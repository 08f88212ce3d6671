/** A whole Tidegate whose configuration is a text that the test rewrites, and clients that keep what they opened. */
import { once } from 'node:events'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { parseConfig } from '../../lib/config/parse.ts'
import type { StampedEvent } from '../../lib/events.ts'
import { silentLog } from '../../lib/log.ts'
import { type Server, startServer } from '../../lib/server.ts'

export interface Reloadable {
  readonly server: Server
  readonly events: readonly StampedEvent[]
  /** Puts the document in the file's place and reloads. */
  become(document: object): Promise<ReloadOutcome>
  port(listener?: number): number
}

export type ReloadOutcome = Awaited<ReturnType<Server['reload']>>

const options = { file: 'tidegate.yaml', directory: '/d', cpus: 2 }

export async function reloadable(t: Test, document: object): Promise<Reloadable> {
  let text = JSON.stringify(document)
  const source = async () => parseConfig(text, options)
  const first = await source()
  if ('faults' in first) throw new Error(JSON.stringify(first.faults))
  const server = await startServer(first.config, { log: silentLog, source })
  t.teardown(() => server.close({ graceMs: 0 }))
  const events: StampedEvent[] = []
  server.control.subscribe(event => events.push(event))
  const become = (next: object) => {
    text = JSON.stringify(next)
    return server.reload()
  }
  return { server, events, become, port: (listener = 0) => server.listeners[listener]!.port }
}

/** A WebSocket that is known to be open as long as its echoes come back. */
export class Echoing {
  readonly socket: WebSocket
  readonly closed: Promise<number>
  #sent = 0

  private constructor(socket: WebSocket) {
    this.socket = socket
    this.closed = once(socket, 'close').then(([code]) => code as number)
    socket.on('error', () => {})
  }

  static async open(port: number, { cookie = '', host = '127.0.0.1' } = {}): Promise<Echoing> {
    const socket = new WebSocket(`ws://${host}:${port}/ws`, { headers: cookie === '' ? {} : { cookie } })
    const echoing = new Echoing(socket)
    await once(socket, 'open')
    return echoing
  }

  /** Resolves when a message of its own has come back; rejects when the connection is not there any more. */
  async echo(): Promise<void> {
    const text = `message ${++this.#sent}`
    const back = once(this.socket, 'message')
    const gone = this.closed.then(code => Promise.reject(new Error(`closed with ${code}`)))
    this.socket.send(text)
    const [data] = (await Promise.race([back, gone])) as [Buffer]
    if (String(data) !== text) throw new Error(`sent ${text}, got ${data}`)
  }

  get open(): boolean {
    return this.socket.readyState === WebSocket.OPEN
  }
}
