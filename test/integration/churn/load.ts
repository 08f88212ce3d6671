/**
 * The load, in a process of its own. Argument: `LoadOptions` as JSON. It says `ready` when every client was served once, tells every second how far it
 * is, takes `{ pauseMs }`, and at `'stop'` finishes what is under way and hands back what it saw.
 */
import { Random } from '../../fuzz/random.ts'
import { SessionClients, type Settings, type Tally } from './session-client.ts'
import { type Standstill, Standstills } from './standstills.ts'
import { type TunnelTally, WebSockets } from './web-sockets.ts'

export interface LoadOptions extends Settings {
  readonly seed: number
  readonly clients: number
  readonly webSockets: number
  /** Of the WebSockets: they stay until they are told to go. */
  readonly staying: number
  readonly pauseMs: number
}

export type FromLoad =
  /** `fresh`: the failures since it was told last, in words. */
  | {
      readonly type: 'progress'
      readonly requests: number
      readonly failures: number
      readonly fresh: readonly string[]
    }
  | { readonly type: 'report'; readonly report: LoadReport }
export type ToLoad = { readonly type: 'stop' } | { readonly type: 'pace'; readonly pauseMs: number }

export interface LoadReport extends Tally {
  readonly tunnels: TunnelTally
  readonly standstills: readonly Standstill[]
}

const options = JSON.parse(process.argv[2]!) as LoadOptions
const standstills = new Standstills()
const random = new Random(options.seed)
const clients = new SessionClients(options)
const webSockets = new WebSockets({ port: options.port, host: options.host, lifeMsMax: options.sessionMsMax })
clients.pauseMs = options.pauseMs
const own = () => new Random(random.below(2 ** 31))
const running = [
  ...Array.from({ length: options.clients }, () => clients.run(own())),
  ...Array.from({ length: options.webSockets }, (_, i) => webSockets.run(own(), i < options.staying)),
]
const say = (message: FromLoad) => process.send?.(message)
let told = 0
const telling = setInterval(() => {
  const { requests, failures } = clients.tally
  const fresh = failures.slice(told).map(({ instance, what }) => `${instance || 'nobody'}: ${what.trim()}`)
  told = failures.length
  say({ type: 'progress', requests, failures: told, fresh })
}, 1_000)

const orphaned = () => process.exit(1)
process.on('disconnect', orphaned)
process.on('message', async (message: ToLoad) => {
  if (message.type === 'pace') {
    clients.pauseMs = message.pauseMs
    return
  }
  clearInterval(telling)
  clients.stop()
  webSockets.stop()
  await Promise.all(running)
  say({
    type: 'report',
    report: { ...clients.tally, tunnels: webSockets.tally, standstills: standstills.stop() },
  })
  process.off('disconnect', orphaned)
  process.disconnect()
})
