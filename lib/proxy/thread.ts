/**
 * The entry of a data-plane worker thread: a `DataPlane` whose messages travel through `parentPort`. The first of them says what to begin
 * with: by then its modules are loaded, which takes longest.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { systemClock } from '../clock.ts'
import { writeCompiled } from '../compiled.ts'
import { createLog } from '../log.ts'
import { DataPlane } from './data-plane.ts'
import type { DataPlaneInit, ToThread } from './messages.ts'

const port = parentPort
if (!port) throw new Error('thread.ts runs only as a worker thread')
const { logLevel } = workerData as { logLevel: Parameters<typeof createLog>[0] }

port.once('message', async (init: DataPlaneInit) => {
  const plane = new DataPlane(init, {
    post: message => port.postMessage(message),
    clock: systemClock,
    log: createLog(logLevel).child({ thread: init.thread }),
  })
  port.on('message', (message: ToThread) => plane.receive(message))
  await plane.start()
  writeCompiled()
})
