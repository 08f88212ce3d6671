/** The soak: clients and backends that end at random around a whole Tidegate, and at the end a look at what it still holds. */
import { setTimeout as delay } from 'node:timers/promises'
import { Random } from '../../../fuzz/random.ts'
import { DyingBackend } from './backends.ts'
import { SoakClient, type Tally } from './client.ts'
import { type Holds, Tidegate } from './tidegate.ts'

export interface SoakOptions {
  readonly requests: number
  /** Clients at once. */
  readonly clients: number
  readonly threads: number
  readonly backends: number
  readonly seed: number
  readonly onProgress?: (tally: Tally, holds: Holds) => void
}

export interface SoakReport extends Tally {
  readonly seconds: number
  readonly deaths: number
  /** Before the first client, and when all clients and backends had gone. */
  readonly before: Holds
  readonly after: Holds
  /** Bytes in each part of the run, the least that was seen: heap and what is outside of it of all threads together, and the process. */
  readonly floors: Readonly<Record<'heap' | 'external' | 'resident', readonly number[]>>
  readonly died: boolean
}

/** How long what is left may take to end: an exchange whose client has gone, a connection that lingers. */
const settleMs = 10_000
const parts = 10

export async function soak(options: SoakOptions): Promise<SoakReport> {
  const random = new Random(options.seed)
  const backends = Array.from(
    { length: options.backends },
    () => new DyingBackend(new Random(random.below(2 ** 31))),
  )
  for (const backend of backends) await backend.start()
  const ports = backends.map(({ port }) => port)
  const tidegate = await Tidegate.start(ports, options.threads)
  const before = await tidegate.holds()
  const tally: Tally = { requests: 0, answers: {}, aborted: 0, broken: 0, tunnels: 0, wrong: [] }
  const started = performance.now()
  const more = () => tally.requests < options.requests && tally.wrong.length < 10 && !tidegate.died
  const clients = Array.from({ length: options.clients }, (_, i) =>
    new SoakClient(tidegate.port, new Random(random.below(2 ** 31)), tally, `c${i}`).run(more),
  )
  const memory = new Floors(options.requests)
  let over = false
  const watching = (async () => {
    while (!over && !tidegate.died) {
      const holds = await tidegate.holds().catch(() => null)
      if (holds !== null) {
        memory.note(tally.requests, holds)
        options.onProgress?.(tally, holds)
      }
      await Promise.race([delay(1_000), Promise.all(clients)])
    }
  })()
  await Promise.all(clients)
  over = true
  await watching
  const seconds = (performance.now() - started) / 1_000
  for (const backend of backends) await backend.stop()
  const { died } = tidegate
  const after = died ? before : await settled(tidegate, before)
  await tidegate.stop()
  const deaths = backends.reduce((all, one) => all + one.deaths, 0)
  const { heap, external, resident } = memory
  const floors = { heap, external, resident }
  return { ...tally, seconds, deaths, before, after, floors, died }
}

/** As soon as nothing more is held than before, or what is still held after a while. */
async function settled(tidegate: Tidegate, before: Holds): Promise<Holds> {
  const deadline = performance.now() + settleMs
  for (;;) {
    const holds = await tidegate.holds()
    const clean = holds.inFlight === 0 && holds.tunnels === 0 && holds.sockets <= before.sockets
    if (clean || performance.now() > deadline) return holds
    await delay(50)
  }
}

/** The least that was seen in each part of the run: what is really held, without what only waits to be collected. */
class Floors {
  readonly heap: number[] = []
  readonly external: number[] = []
  readonly resident: number[] = []
  readonly #requests: number

  constructor(requests: number) {
    this.#requests = requests
  }

  note(done: number, { heapBytes, externalBytes, residentBytes }: Holds): void {
    // A thread that has not told of itself yet.
    if (heapBytes.includes(0)) return
    const part = Math.min(parts - 1, Math.floor((done / this.#requests) * parts))
    const lower = (floors: number[], bytes: number) => {
      floors[part] = Math.min(floors[part] ?? Number.POSITIVE_INFINITY, bytes)
    }
    lower(this.heap, sum(heapBytes))
    lower(this.external, sum(externalBytes))
    lower(this.resident, residentBytes)
  }
}

const sum = (bytes: readonly number[]) => bytes.reduce((all, one) => all + one, 0)
