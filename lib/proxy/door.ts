/**
 * A listening socket of one event loop. It knows nothing of what is spoken on its connections, and so outlives the settings of a
 * listener: who keeps the address keeps the very socket, and with it the connections that the kernel has made and nobody has
 * accepted yet.
 *
 *   open ──► hands each connection to its receiver ──► close() ──► closing: those that wait to be accepted ──► closed
 *                       └── handTo(): the next ones go to another
 *
 * The kernel resets whatever waits on a socket that is closed, and Node accepts one connection a turn of its event loop. So a door closes
 * right behind a turn that found nobody waiting.
 */
import { type AddressInfo, Server, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { TidegateError } from '../errors.ts'
import type { Log } from '../log.ts'
import { type Address, formatAddress } from '../units.ts'

/** Takes an accepted socket over. Never throws. */
export type Receiver = (socket: Socket) => void

export interface DoorOptions {
  /** Several event loops open the same address, and the kernel spreads its connections over them. */
  readonly reusePort: boolean
  readonly log: Log
  readonly receiver: Receiver
}

/** Under a flood of new connections somebody waits at every look. */
const closingTurnsMax = 1_000

export class Door {
  readonly host: string
  /** The real one, where the configuration said 0. */
  readonly port: number
  readonly #server: Server
  #receiver: Receiver
  #accepted = 0

  private constructor(server: Server, receiver: Receiver) {
    const { address, port } = server.address() as AddressInfo
    this.host = address
    this.port = port
    this.#server = server
    this.#receiver = receiver
    server.on('connection', socket => {
      this.#accepted++
      this.#receiver(socket)
    })
  }

  /** Rejects with `port_in_use`, or `invalid_config` for an address that cannot be used. */
  static async open(address: Address, { reusePort, log, receiver }: DoorOptions): Promise<Door> {
    const server = new Server({ allowHalfOpen: true, noDelay: true })
    await listen(server, address, reusePort)
    // A connection that cannot be accepted (no memory for it) is lost; the others are not to be lost with it.
    server.on('error', error => log.warn({ err: error }, 'a connection could not be accepted'))
    return new Door(server, receiver)
  }

  /** From the next connection on. */
  handTo(receiver: Receiver): void {
    this.#receiver = receiver
  }

  /** No connection is taken any more, once those that wait have been; those that were handed over are not touched. */
  async close(): Promise<void> {
    // What ends this turn may have been before the look at the network: a whole one counts.
    await turn()
    for (let turns = 0; turns < closingTurnsMax && this.#server.listening; turns++) {
      const before = this.#accepted
      await turn()
      if (this.#accepted === before) break
    }
    this.abandon()
  }

  /** At once: who waits is reset. */
  abandon(): void {
    this.#server.close()
  }
}

/**
 * Rejects with `port_in_use` when anybody listens there. A door that shares its port would join a stranger's in silence, and
 * each would get some of the other's connections.
 */
export async function requireFreePort(address: Address): Promise<void> {
  if (address.port === 0) return
  const probe = new Server()
  await listen(probe, address, false)
  await new Promise(resolve => probe.close(resolve))
}

function listen(server: Server, { host, port }: Address, reusePort: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException) => reject(listenError(error, { host, port }))
    server.once('error', onError)
    server.listen({ host, port, reusePort }, () => {
      server.off('error', onError)
      resolve()
    })
  })
}

function listenError(error: NodeJS.ErrnoException, { host, port }: Address): TidegateError {
  const where = formatAddress(host, port)
  if (error.code === 'EADDRINUSE') {
    return new TidegateError(
      'port_in_use',
      `${where} is already in use. Stop what listens there (\`ss -ltnp 'sport = :${port}'\` shows it), or choose another address in "listeners".`,
      { details: { host, port }, cause: error },
    )
  }
  return new TidegateError(
    'invalid_config',
    `Cannot listen on ${where} (${error.code}). Choose another address in "listeners".`,
    { details: { host, port }, cause: error },
  )
}
