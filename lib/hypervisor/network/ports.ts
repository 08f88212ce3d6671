/**
 * Free TCP ports on 127.0.0.1 for QEMU to forward. A port is only found free, not held: QEMU may still find it taken, and
 * the driver then asks for others. Ports come from below the range that the system gives to outgoing connections.
 */
import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'
import { TidegateError } from '../../errors.ts'

const portMin = 20_000
const portMax = 32_767
const attemptsMax = 200

/** `count` different ports, each free a moment ago and not in `avoid`. */
export async function freePorts(
  count: number,
  avoid: ReadonlySet<number> = new Set(),
): Promise<readonly number[]> {
  const found = new Set<number>()
  for (let attempt = 0; found.size < count; attempt++) {
    if (attempt >= attemptsMax) {
      throw new TidegateError('hypervisor_failed', `no free port on 127.0.0.1 in ${portMin}-${portMax}`)
    }
    const port = randomInt(portMin, portMax + 1)
    if (!found.has(port) && !avoid.has(port) && (await isFree(port))) found.add(port)
  }
  return [...found]
}

function isFree(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => server.close(() => resolve(true)))
  })
}
