/** Enters and leaves one member as fast as it can; tells how often it got in. */
import { parentPort, workerData } from 'node:worker_threads'
import { Board } from '../../lib/cluster/board.ts'
import { Member } from '../../lib/cluster/member.ts'

const { buffer, thread, rounds } = workerData
const board = new Board(buffer)
const member = new Member(
  { id: 'a', incarnation: 'i', host: '127.0.0.1', port: 1, weight: 1, slot: 3, epoch: 1 },
  board,
  thread,
)
let entered = 0
for (let i = 0; i < rounds; i++) {
  if (!member.enter(false)) continue
  entered++
  member.leave('ok')
}
parentPort?.postMessage(entered)
