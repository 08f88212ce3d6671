import { connect } from 'node:net'

/** All that comes on a connection of its own, until its end. Rejects when it is reset. */
export async function askOnce(port: number): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  let got = ''
  for await (const bytes of socket) got += String(bytes)
  return got
}
