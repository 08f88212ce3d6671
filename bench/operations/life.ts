/**
 * One process of the bench, told by its arguments what to live through; prints one line of JSON.
 *
 *   break <directory>    makes the thousand and dies in the middle of an operation in each cluster
 *   start <directory>    starts over what that one left
 *   decide <directory> <store> <decisions>    times decisions beside a thousand instances
 *
 * Its parent holds the ports on which the instances answer, and sends them.
 */
import { once } from 'node:events'
import { join } from 'node:path'
import { writeCompiled } from '../../lib/compiled.ts'
import { decide } from './decisions.ts'
import { keepNodes, makeNodes, readNodes } from './simulated.ts'
import {
  breakOff,
  fill,
  type Installation,
  look,
  nodeIds,
  type StoreKind,
  startWorld,
  thousand,
} from './world.ts'

const [what, directory = '', store = 'sqlite', decisions = '0'] = process.argv.slice(2)
const [ports] = (await once(process, 'message')) as [number[]]
const kept = join(directory, 'nodes.json')

function installation(nodes: Installation['nodes'], kind: StoreKind): Installation {
  return { size: thousand, directory, nodes, store: kind, fault: () => null }
}

if (what === 'break') {
  const world = installation(makeNodes(nodeIds(thousand), ports), 'sqlite')
  const server = await startWorld(world)
  await fill(server, thousand)
  await breakOff(world, server)
  keepNodes(kept, world.nodes)
  say({})
}
if (what === 'start') {
  const world = installation(readNodes(kept, ports), 'sqlite')
  const begunMs = performance.now()
  const server = await startWorld(world)
  const listeningMs = performance.now()
  const atListening = await look(server, world)
  const lookedMs = performance.now()
  await server.recovered
  const recoveredMs = performance.now() - (lookedMs - listeningMs)
  const { user, system } = process.threadCpuUsage()
  const cpuMs = (user + system) / 1_000
  say({ begunMs, listeningMs, recoveredMs, cpuMs, atListening, recovered: await look(server, world) })
}
if (what === 'decide') {
  const world = installation(makeNodes(nodeIds(thousand), ports), store as StoreKind)
  const server = await startWorld(world)
  await fill(server, thousand)
  say({ decisions: await decide(server, world, Number(decisions)) })
}

/** And ends as a death does: nothing is closed. */
function say(value: object): void {
  writeCompiled()
  process.stdout.write(`${JSON.stringify(value)}\n`, () => process.kill(process.pid, 'SIGKILL'))
}
