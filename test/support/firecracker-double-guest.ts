/**
 * The guest of the Firecracker double: the application in a thread, which can be stopped between any two of its turns like a
 * machine whose processors are paused, and which dies with the process like a machine does.
 */
import { parentPort, workerData } from 'node:worker_threads'

const { main, cells } = workerData as { main: string; cells: Int32Array }

parentPort!.on('message', () => {
  Atomics.store(cells, 1, 1)
  Atomics.notify(cells, 1)
  Atomics.wait(cells, 0, 1)
})
// The application alone decides whether the thread goes on.
parentPort!.unref()

await import(main)
