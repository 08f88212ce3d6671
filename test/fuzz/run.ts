/** Runs a fuzz for a time, on several lanes at once, and gathers what went wrong with the seed that shows it again. */
import { Random } from './random.ts'

export interface Lane {
  /** One text from start to end. Returns what is wrong, with what shows it. */
  step(random: Random): Promise<readonly Wrong[]>
  close(): Promise<void>
}

export interface Wrong {
  readonly what: string
  readonly text: string
}

export interface Report {
  readonly steps: number
  readonly wrong: readonly Wrong[]
}

/** A lane is a sequence of its own, so that its seed repeats it, whatever the others do. */
const lanes = 4
const wrongMax = 5

/** For that time, and on a machine that is busy with other things for as long as the least number of steps takes. */
export async function run(
  openLane: (random: Random) => Promise<Lane>,
  seed: number,
  milliseconds: number,
  stepsMin = 0,
): Promise<Report> {
  const until = performance.now() + milliseconds
  let steps = 0
  const wrong: Wrong[] = []
  const go = async (index: number) => {
    const random = new Random(seed + index * 0x10001)
    const lane = await openLane(random)
    while ((performance.now() < until || steps < stepsMin) && wrong.length < wrongMax) {
      wrong.push(...(await lane.step(random)))
      steps++
    }
    await lane.close()
  }
  await Promise.all(Array.from({ length: lanes }, (_, index) => go(index)))
  return { steps, wrong }
}
