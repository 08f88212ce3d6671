/** For tests of what the proxy does while a backend takes its time: every request there can be held, answered or broken by hand. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Server } from 'node:net'
import type { Test } from 'tap'
import { closeServer, type FrontDoor, listenOn, until } from './traffic.ts'

export interface Act {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** The proxy has given it up before its answer was whole. */
  gone: boolean
  answer(status: number, body: string, headers?: Record<string, string>): void
  /** The end of the connection, without a byte. */
  reset(): void
}

export interface Stage {
  readonly port: number
  readonly server: Server
  readonly acts: readonly Act[]
  /** The `n`th request, from 1, as soon as it is there. */
  act(n: number): Promise<Act>
}

/** `play` is called for each request; left out, they are all held. Ends with the test. */
export async function stage(t: Test, play: (act: Act) => void = () => {}): Promise<Stage> {
  const acts: Act[] = []
  const server = createServer((request, response) => {
    const act: Act = {
      request,
      response,
      gone: false,
      answer: (status, body, headers = {}) => void response.writeHead(status, headers).end(body),
      reset: () => void request.socket.resetAndDestroy(),
    }
    response.once('close', () => {
      act.gone = !response.writableFinished
    })
    acts.push(act)
    play(act)
  })
  const port = await listenOn(server)
  t.teardown(async () => {
    server.closeAllConnections()
    await closeServer(server)
  })
  const act = async (n: number) => {
    await until(
      () => acts.length >= n,
      () => `request ${n}, ${acts.length} came`,
    )
    return acts[n - 1]!
  }
  return { port, server, acts, act }
}

export const answers =
  (status: number, body: string) =>
  (act: Act): void =>
    act.answer(status, body)

/** Nothing is under way, counted or waited for any more. */
export async function calm(t: Test, door: FrontDoor, clusters: readonly string[] = ['web']): Promise<void> {
  await until(() => door.context.exchanges.size === 0, 'every exchange to be over')
  await until(
    () => door.context.mirrors.size === 0,
    () => `${door.context.mirrors.size} copies to be over`,
  )
  for (const { id, slot } of door.table.members())
    t.same(
      [door.board.total(slot, 'inFlight'), door.board.total(slot, 'tunnels')],
      [0, 0],
      `nothing on ${id}`,
    )
  for (const cluster of clusters)
    t.same(door.circuit(cluster), { requests: 0, tunnels: 0, pending: 0 }, `nothing in ${cluster}`)
}
