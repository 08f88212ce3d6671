/**
 * Garbage for those parts of control that ask others: health checks by HTTP and gRPC, a VMM's API, QEMU's monitor. Each ends by
 * itself with a verdict or an error in words, lets go of its connection, and hears the next answer.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../lib/clock.ts'
import { probeOnce } from '../../lib/cluster/prober.ts'
import { TidegateError } from '../../lib/errors.ts'
import { HttpUnixClient } from '../../lib/hypervisor/http-unix/client.ts'
import { Qmp } from '../../lib/hypervisor/qemu/qmp.ts'
import { frame } from '../support/h2-frames.ts'
import { healthConfig } from '../support/health-config.ts'
import { closeServer, listenOn, until } from '../support/traffic.ts'
import { mangled, noise, sayAndEnd } from './mangle.ts'
import type { Random } from './random.ts'
import type { Lane } from './run.ts'

const limits = { timeoutMs: 300 }
const endlessBytesMax = 2 ** 22

const http = Buffer.from(
  'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n',
)
const h2 = Buffer.concat([
  frame(4, 0, 0),
  frame(4, 1, 0),
  frame(1, 4, 1, Buffer.from([0x88])),
  frame(0, 1, 1, Buffer.from([0, 0, 0, 0, 2, 8, 1])),
])
const qmp = Buffer.from(
  '{"QMP": {"version": {}, "capabilities": []}}\r\n{"return": {}, "id": 1}\r\n{"return": {}, "id": 2}\r\n',
)

export async function answersToControlLane(_random: Random): Promise<Lane> {
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-fuzz-'))
  const sockets = new Set<Socket>()
  let answer: (socket: Socket) => void = () => {}
  const served = () =>
    createServer(socket => {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => sockets.delete(socket))
      socket.resume()
      answer(socket)
    })
  const [overTcp, overUnix] = [served(), served()]
  const port = await listenOn(overTcp)
  const path = join(directory, 'api.sock')
  await new Promise<void>(resolve => overUnix.listen(path, resolve))
  const api = () =>
    new HttpUnixClient(path, { peer: 'the VMM', requestBytesMax: 1_000, answerBytesMax: 4_096 }, systemClock)
  const probed = (type: 'http' | 'grpc') =>
    probeOnce({ host: '127.0.0.1', port }, healthConfig({ type, timeoutMs: 300 }))
  const asks = {
    'HTTP check': { right: http, ask: () => probed('http') },
    'gRPC check': { right: h2, ask: () => probed('grpc') },
    'API over a unix socket': { right: http, ask: () => api().call('GET', '/x', undefined, limits) },
    monitor: {
      right: qmp,
      ask: async () => {
        const monitor = await Qmp.open(path, systemClock, limits)
        await monitor.execute('query-status', {}, limits).finally(() => monitor.close())
      },
    },
  } as const
  const names = Object.keys(asks) as (keyof typeof asks)[]
  return {
    step: async random => {
      const name = random.pick(names)
      const { right, ask } = asks[name]
      const bytes = random.chance(0.2) ? noise(random, 2_000) : mangled(random, right)
      const endless = random.chance(0.1)
      answer = socket => void sayAndEnd(random, socket, bytes, endless ? endlessBytesMax : 0)
      const wrong: string[] = []
      try {
        await ask()
      } catch (error) {
        if (!(error instanceof TidegateError)) wrong.push(`not an error in words: ${String(error)}`)
      }
      await until(() => sockets.size === 0, `${name}: the connection to be let go`)
      // And a check afterwards hears a right answer.
      answer = socket => void socket.end(http)
      const verdict = await probed('http')
      if (!verdict.ok && !verdict.silent) wrong.push(`a right answer afterwards: ${verdict.reason}`)
      return wrong.map(what => ({
        what: `${name}: ${what}`,
        text: `${bytes.toString('hex')}${endless ? ' …' : ''}`,
      }))
    },
    close: async () => {
      for (const socket of sockets) socket.destroy()
      await Promise.all([closeServer(overTcp), closeServer(overUnix)])
      rmSync(directory, { recursive: true, force: true })
    },
  }
}
