/**
 * `npm run held-against`: slowhttptest (Debian package of the same name) in its four ways against a Tidegate with one thread, while a
 * probe asks for a small page all the time. Prints a table; fails if the probe's 99th percentile is 100 ms or more, or if it is refused.
 *
 *   npm run held-against -- --seconds 30 --connections 1000
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Agent, createServer, get } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Tidegate } from '../integration/proxy/soak/tidegate.ts'
import { listenOn } from '../support/traffic.ts'

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '30' }, connections: { type: 'string', default: '1000' } },
})
const p99LimitMs = 100
const large = Buffer.alloc(2 * 1024 * 1024, 'x')

const common = ['-c', values.connections, '-r', '200', '-l', values.seconds, '-p', '3']
const ways: Readonly<Record<string, readonly string[]>> = {
  'slow heads (-H)': ['-H', '-i', '2', '-t', 'GET', '-x', '24'],
  'slow bodies (-B)': ['-B', '-i', '2', '-s', '8192', '-x', '10'],
  'ranges (-R)': ['-R', '-a', '10', '-b', '3000', '-t', 'GET'],
  'slow reading (-X)': ['-X', '-w', '512', '-y', '1024', '-n', '5', '-z', '32', '-k', '3'],
}

interface Probed {
  readonly latenciesMs: readonly number[]
  readonly failures: number
}

const backend = createServer((request, response) => {
  request.resume()
  if (request.url === '/large') response.end(large)
  else request.on('end', () => response.end('ok'))
})
const tidegate = await Tidegate.start([await listenOn(backend)], 1)
const url = `http://127.0.0.1:${tidegate.port}`
const agent = new Agent({ keepAlive: true })

console.log(
  '| way | probes | refused | p50 ms | p99 ms | max ms | connections closed within 15 s of the end |',
)
console.log('|---|---|---|---|---|---|---|')
let bad = false
for (const [name, options] of Object.entries(ways)) {
  const target = name.includes('reading') ? `${url}/large` : `${url}/`
  const before = (await tidegate.holds()).sockets
  const attack = spawn('slowhttptest', [...options, ...common, '-u', target], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  attack.on('error', error => {
    throw new Error(`slowhttptest: ${error.message} (apt-get install slowhttptest)`)
  })
  const ended = once(attack, 'exit')
  const { latenciesMs, failures } = await probe(ended)
  const closed = await backTo(before)
  const sorted = latenciesMs.toSorted((a, b) => a - b)
  const at = (share: number) => (sorted[Math.floor(sorted.length * share)] ?? Number.NaN).toFixed(1)
  console.log(
    `| ${name} | ${sorted.length} | ${failures} | ${at(0.5)} | ${at(0.99)} | ${at(1 - 1 / sorted.length)} | ${closed} |`,
  )
  if (failures > 0 || !(Number(at(0.99)) < p99LimitMs)) bad = true
}
agent.destroy()
await tidegate.stop()
backend.closeAllConnections()
backend.close()
process.exitCode = bad ? 1 : 0

/** Every 20 ms, on a kept and on a new connection in turns. */
async function probe(until: Promise<unknown>): Promise<Probed> {
  const latenciesMs: number[] = []
  let failures = 0
  let over = false
  void until.then(() => {
    over = true
  })
  for (let turn = 0; !over; turn++) {
    const began = performance.now()
    const status = await statusOf(turn % 2 === 0)
    latenciesMs.push(performance.now() - began)
    if (status !== 200) failures++
    await delay(20)
  }
  return { latenciesMs, failures }
}

function statusOf(kept: boolean): Promise<number> {
  return new Promise(resolve => {
    const request = get(url, kept ? { agent } : { agent: false }, response => {
      response.resume()
      response.on('end', () => resolve(response.statusCode!))
      response.on('error', () => resolve(0))
    })
    request.setTimeout(5_000, () => request.destroy())
    request.on('error', () => resolve(0))
  })
}

/** What the attack held is let go. */
async function backTo(sockets: number): Promise<string> {
  const slack = 20
  for (let waited = 0; waited < 15_000; waited += 250) {
    const now = (await tidegate.holds()).sockets
    if (now <= sockets + slack) return 'yes'
    await delay(250)
  }
  return `${(await tidegate.holds()).sockets - sockets} left`
}
