/** WebSockets that speak all the time: most hang up soon and others come, some stay until they are told that their instance leaves. */
import { WebSocket } from 'ws'
import type { Random } from '../../fuzz/random.ts'

export interface TunnelTally {
  opened: number
  echoed: number
  /** Closed with 1001, as their instance left. */
  told: number
  /** Ended in any other way than by us. */
  readonly broken: Broken[]
}

export interface Broken {
  /** Wall clock. */
  readonly atMs: number
  /** Empty: it never greeted. */
  readonly instance: string
  readonly what: string
}

export interface TunnelSettings {
  readonly port: number
  readonly host: string
  readonly lifeMsMax: number
}

const pauseMsMax = 400
const keptMax = 500

export class WebSockets {
  readonly tally: TunnelTally = { opened: 0, echoed: 0, told: 0, broken: [] }
  readonly #settings: TunnelSettings
  readonly #open = new Set<WebSocket>()
  #stopped = false

  constructor(settings: TunnelSettings) {
    this.#settings = settings
  }

  /** One after another, to the end; `staying`: each until it is told to go. */
  async run(random: Random, staying: boolean): Promise<void> {
    while (!this.#stopped) {
      const lifeMs = staying ? Number.POSITIVE_INFINITY : random.next() * this.#settings.lifeMsMax
      await this.#tunnel(random, lifeMs)
    }
  }

  stop(): void {
    this.#stopped = true
    for (const socket of this.#open) socket.close(1000)
  }

  #tunnel(random: Random, lifeMs: number): Promise<void> {
    const { port, host } = this.#settings
    const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`, { headers: { host } })
    const { tally } = this
    const endsMs = performance.now() + lifeMs
    let instance = ''
    let sent = ''
    let echoed = 0
    let fault = ''
    let leaving = false
    tally.opened++
    this.#open.add(socket)
    const speak = () => {
      if (socket.readyState !== socket.OPEN) return
      if (this.#stopped || performance.now() > endsMs) {
        leaving = true
        return socket.close(1000)
      }
      sent = `${echoed} ${'x'.repeat((echoed * 97) % 2_000)}`
      socket.send(sent)
    }
    socket.on('message', data => {
      const text = String(data)
      if (instance === '') instance = (JSON.parse(text) as { instance_id: string }).instance_id
      else if (text === sent) {
        echoed++
        tally.echoed++
      } else fault = `sent ${sent.slice(0, 40)}, got ${text.slice(0, 40)}`
      setTimeout(speak, random.next() * pauseMsMax)
    })
    socket.on('error', error => {
      fault ||= error.message
    })
    return new Promise(resolve => {
      socket.on('close', (code, reason) => {
        this.#open.delete(socket)
        const ours = leaving || this.#stopped
        // One that we gave up while it was being opened says so by an error.
        const unborn = this.#stopped && instance === ''
        if (code === 1001 && fault === '') tally.told++
        else if (!unborn && (fault !== '' || !ours))
          if (tally.broken.length < keptMax) {
            const what = `closed with ${code} ${reason} after ${echoed} echoes ${fault}`.trim()
            tally.broken.push({ atMs: Date.now(), instance, what })
          }
        resolve()
      })
    })
  }
}
