/** The bench's WebSocket origin: what a round leaves behind must not starve the next ones. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { frame } from '../../../bench/proxy/load/frames.ts'

t.test('a tunnel that ends without Close is let go', async t => {
  const origin = spawn(process.execPath, [
    new URL('../../../bench/proxy/origin/echo.ts', import.meta.url).pathname,
  ])
  t.teardown(() => origin.kill())
  const [line] = await once(origin.stdout, 'data')
  const socket = connect(Number(line), '127.0.0.1')
  socket.write(
    'GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n',
  )
  const [head] = await once(socket, 'data')
  t.match(String(head), /^HTTP\/1\.1 101 /)
  socket.write(frame(Buffer.from('hello'), Buffer.of(1, 2, 3, 4)))
  const [echoed] = await once(socket, 'data')
  t.strictSame(echoed, frame(Buffer.from('hello'), null))
  socket.end()
  await once(socket, 'end')
  t.pass('its other end ends too')
})
