/** A client that reads none of its answers, and asks on: with `http-proxy-3` the last of them had no deadline. */
import { createServer } from 'node:http'
import t from 'tap'
import { ManualClock } from '../../support/manual-clock.ts'
import { closeServer, inFlight, listenOn, openFrontDoor, rawClient, until } from '../../support/traffic.ts'

const get = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'

t.test('cL: a client that asks for more and more, and reads nothing', async t => {
  const clock = new ManualClock()
  const server = createServer((_request, response) => response.end(Buffer.alloc(10_000)))
  const backends = [await listenOn(server)]
  const door = await openFrontDoor({ backends, clock, engine: 'http-proxy-3' })
  const client = await rawClient(door.port)
  client.socket.pause()
  let asked = 0
  let [last, looks] = [-1, 0]
  // Until an answer is not sent to its end any more.
  while (looks < 20) {
    client.send(get.repeat(50))
    asked += 50
    looks = 0
    await until(() => {
      looks = door.records.length === last && inFlight(door) === 0 ? looks + 1 : 0
      last = door.records.length
      return last === asked || looks >= 20
    }, 'an end of all that was asked for')
  }
  await clock.advance(61_000)
  await until(() => door.records.length > last, 'the end of it')
  t.match(door.records[last], { ending: /^c[LD]$/, error: 'client_closed' })
  client.socket.destroy()
  await door.close()
  server.closeAllConnections()
  await closeServer(server)
})
