/**
 * The interleaving: all lanes of a row are started, checked and warmed up, then measured in turns, round after round, each
 * round beginning with another lane, so that what happens on the machine meanwhile meets all of them alike.
 */
import type { Bench, LaneResult, LeftOut, Sample } from './row.ts'
import type { Order, Running, Subject } from './subjects/subject.ts'

/** One line of a row: a subject, started in this row's way. */
export interface Lane {
  readonly subject: Subject
  readonly order: Order
  /** Why it cannot be measured here; null: it can. */
  readonly unavailable: string | null
}

export interface Method {
  /** What is wrong with its answers; empty: nothing. */
  check(running: Running): Promise<readonly string[]>
  /** One round of so many seconds. */
  measure(running: Running, seconds: number): Promise<Sample>
  /** What its rounds show to be wrong, or worth saying. */
  judge(rounds: readonly Sample[]): { readonly faults: readonly string[]; readonly notes: readonly string[] }
}

interface Live {
  readonly lane: Lane
  readonly running: Running
  readonly rounds: Sample[]
  readonly faults: string[]
}

export interface Measured {
  readonly lanes: readonly LaneResult[]
  readonly leftOut: readonly LeftOut[]
}

/** A row that cannot be run at all. */
export function without(name: string, why: string): Measured {
  return { lanes: [], leftOut: [{ name, why }] }
}

export async function measureLanes(bench: Bench, lanes: readonly Lane[], method: Method): Promise<Measured> {
  const live: Live[] = []
  const leftOut: LeftOut[] = []
  try {
    for (const lane of lanes) {
      const why = await open(bench, lane, method, live)
      if (why === null) continue
      leftOut.push({ name: lane.subject.name, why })
      bench.say(`  ${lane.subject.name} is left out: ${why}`)
    }
    await takeRounds(bench, live, method)
  } finally {
    await Promise.all(live.map(({ running }) => running.stop()))
  }
  const results = live.map(({ lane, rounds, faults }): LaneResult => {
    const judged = method.judge(rounds)
    return {
      name: lane.subject.name,
      version: lane.subject.version() ?? '',
      rounds,
      faults: [...faults, ...judged.faults],
      notes: judged.notes,
    }
  })
  return { lanes: results, leftOut }
}

/** Starts and checks one; the reason when it cannot take part. */
async function open(bench: Bench, lane: Lane, method: Method, live: Live[]): Promise<string | null> {
  const { subject, order, unavailable } = lane
  if (unavailable !== null) return unavailable
  if (subject.version() === null) return `not installed; get it with: ${subject.howToGet}`
  let running: Running
  try {
    running = await subject.start(order)
  } catch (error) {
    return `it does not start: ${inOneLine(error)}`
  }
  const faults = await method.check(running)
  if (faults.length > 0) {
    await running.stop()
    return `it does not answer as it must: ${faults.join('; ')}`
  }
  live.push({ lane, running, rounds: [], faults: [] })
  bench.say(`  ${subject.name} answers correctly`)
  return null
}

/** For what is compiled already: its connections to the origin, and the caches. */
const nativeWarmupSeconds = 1

async function takeRounds(bench: Bench, live: readonly Live[], method: Method): Promise<void> {
  if (live.length === 0) return
  const { rounds, seconds, warmupSeconds } = bench.settings
  const attempt = async (one: Live, what: () => Promise<void>) => {
    try {
      await what()
    } catch (error) {
      one.faults.push(`a round failed: ${inOneLine(error)}`)
    }
  }
  if (warmupSeconds > 0) {
    for (const one of live) {
      const { eventLoops } = one.lane.subject
      const lasting = eventLoops === 0 ? nativeWarmupSeconds : warmupSeconds * eventLoops
      await attempt(one, async () => void (await method.measure(one.running, lasting)))
    }
  }
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < live.length; turn++) {
      const one = live[(round + turn) % live.length]!
      await attempt(one, async () => void one.rounds.push(await method.measure(one.running, seconds)))
    }
    bench.say(`  round ${round + 1} of ${rounds}`)
  }
}

/** An error in one line. Programs wrap the cause in much else: it is the line that calls itself an error, or the last one. */
export function inOneLine(error: unknown): string {
  const lines = (error as Error).message.trim().split(/\s*\n\s*/)
  const cause = lines.find(line => causeMark.test(line)) ?? lines.at(-1) ?? ''
  return cause.length > lineCharsMax ? `${cause.slice(0, lineCharsMax)} …` : cause
}

const causeMark = /\w*Error(?: \[\w+\])?: |\[(?:ALERT|emerg|error)\]|^error: /
const lineCharsMax = 400
