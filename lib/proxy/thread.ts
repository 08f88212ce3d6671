/** The entry of a data-plane worker thread: a `DataPlane` whose messages travel through `parentPort`. */
import { parentPort, workerData } from 'node:worker_threads'
import { systemClock } from '../clock.ts'
import { writeCompiled } from '../compiled.ts'
import { createLog } from '../log.ts'
import { DataPlane } from './data-plane.ts'
import type { DataPlaneInit, ToThread } from './messages.ts'

const port = parentPort
if (!port) throw new Error('thread.ts runs only as a worker thread')
const { init, logLevel } = workerData as { init: DataPlaneInit; logLevel: Parameters<typeof createLog>[0] }

const plane = new DataPlane(init, {
  post: message => port.postMessage(message),
  clock: systemClock,
  log: createLog(logLevel).child({ thread: init.thread }),
})
port.on('message', (message: ToThread) => plane.receive(message))
await plane.start()
writeCompiled()
