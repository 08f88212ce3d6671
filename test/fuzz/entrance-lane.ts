/** PROXY headers, right and mangled, in front of requests: nobody is served by a header that was not read whole, and everybody else as ever. */
import { proxyV2 } from '../support/proxy-header.ts'
import { inFlight, openFrontDoor, openRawBackend, rawClient, until } from '../support/traffic.ts'
import { mangled, noise, sendInPieces } from './mangle.ts'
import type { Random } from './random.ts'
import type { Lane } from './run.ts'

const request = Buffer.from('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
const ends = { from: '192.0.2.7', to: '192.0.2.1' }
const headers = [
  Buffer.from('PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n'),
  Buffer.from('PROXY TCP6 2001:db8::1 2001:db8::2 4711 80\r\n'),
  Buffer.from('PROXY UNKNOWN\r\n'),
  proxyV2(ends, 4711, 80),
  proxyV2(ends, 4711, 80, { checksum: true }),
  proxyV2({ from: '2001:db8::1', to: '2001:db8::2' }, 4711, 80, { extensions: Buffer.from([4, 0, 2, 1, 2]) }),
]

export async function entranceLane(_random: Random): Promise<Lane> {
  const backend = await openRawBackend((socket, text) => {
    if (text.endsWith('\r\n\r\n'))
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok')
  })
  const door = await openFrontDoor({
    backends: [backend.port],
    trustedProxies: ['127.0.0.1'],
    listener: { proxyProtocol: 'require' },
  })
  return {
    step: async random => {
      const right = random.chance(0.3)
      const header = random.pick(headers)
      const bytes = right ? header : random.chance(0.2) ? noise(random, 300) : mangled(random, header)
      const client = await rawClient(door.port)
      await sendInPieces(random, client.socket, Buffer.concat([bytes, request]))
      // Whoever is still waited for has not said all: nobody waits three seconds for it here.
      if (right) await client.waitClosed()
      else if (random.chance(0.5)) client.socket.end()
      else client.socket.destroy()
      await until(() => client.closed, 'the connection to be over')
      await until(() => door.context.exchanges.size === 0, 'nothing to be under way')
      const wrong: string[] = []
      if (inFlight(door) !== 0) wrong.push(`${inFlight(door)} in flight afterwards`)
      if (right && !/^HTTP\/1\.1 200 [\s\S]*ok$/.test(client.text()))
        wrong.push(`a right header: ${client.text()}`)
      return wrong.map(what => ({ what, text: bytes.toString('hex') }))
    },
    close: async () => {
      await door.close()
      await backend.close()
    },
  }
}
