/** A script: connections that ask for something once and then rest. `open N` opens N more; `count` tells how many still stand. */
import { connect, type Socket } from 'node:net'
import { AnswerReader } from './answer.ts'
import { inParallel, serveLoad } from './driver.ts'

export interface IdleOptions {
  readonly port: number
}

export interface IdleReport {
  readonly open: number
}

const openingAtOnce = 64
const request = 'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\n\r\n'

function openOne(port: number, sockets: Set<Socket>): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    const reader = new AnswerReader()
    socket.on('data', chunk => {
      const status = reader.read(chunk)
      if (status === null) return
      if (status !== 200) return reject(new Error(`a status of ${status}`))
      sockets.add(socket)
      resolve()
    })
    socket.on('error', reject)
    socket.on('close', () => {
      sockets.delete(socket)
      reject(new Error('a connection was closed'))
    })
    socket.write(request)
  })
}

if (import.meta.main) {
  await serveLoad<IdleOptions>(async ({ port }) => {
    const sockets = new Set<Socket>()
    return async (command: string): Promise<IdleReport> => {
      const [verb, count] = command.split(' ')
      if (verb === 'open') await inParallel(Number(count), openingAtOnce, () => openOne(port, sockets))
      return { open: sockets.size }
    }
  })
}
