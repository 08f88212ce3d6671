/** Tidegate's data plane in a process of its own, one event loop, one backend: `node tidegate.ts ORIGIN_PORT` prints its port. */
import { systemClock } from '../../lib/clock.ts'
import { Board } from '../../lib/cluster/board.ts'
import { createLog } from '../../lib/log.ts'
import { DataPlane } from '../../lib/proxy/data-plane.ts'

const board = Board.create(1)
board.admit(0, 1, 'any')
const plane = new DataPlane(
  {
    thread: 0,
    board: board.buffer,
    listeners: [{ host: '127.0.0.1', port: 0 }],
    reusePort: false,
    trustedProxies: [],
    debugHeaders: false,
    table: {
      generation: 1,
      affinityKeys: [],
      clusters: [
        {
          id: 'web',
          routes: [{ host: '*', path: '/' }],
          balance: 'least_request',
          affinity: { method: 'none' },
          timeouts: { connectMs: 5_000, headerMs: 60_000, idleMs: 60_000, tunnelIdleMs: 3_600_000 },
          members: [
            {
              id: 'a',
              incarnation: 'a-1',
              host: '127.0.0.1',
              port: Number(process.argv[2]),
              weight: 1,
              slot: 0,
              epoch: 1,
            },
          ],
        },
      ],
    },
  },
  {
    clock: systemClock,
    log: createLog('warn'),
    post: message => {
      if (message.type === 'listening') process.stdout.write(`${message.listeners[0]!.port}\n`)
    },
  },
)
await plane.start()
