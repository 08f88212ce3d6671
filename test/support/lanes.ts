/**
 * Runs many jobs, some at a time: in the order they are given, but that of some kinds only so many run at once. What cannot begin
 * yet is passed over and not waited for.
 */
export interface Kind<Job> {
  readonly is: (job: Job) => boolean
  readonly atOnceMax: number
}

/** Rejects as the first job does that rejects; the others that run end unheard. */
export async function inLanes<Job>(
  jobs: readonly Job[],
  atOnceMax: number,
  kinds: readonly Kind<Job>[],
  run: (job: Job) => Promise<void>,
): Promise<void> {
  const waiting = [...jobs]
  const running = new Map<Job, Promise<void>>()
  while (waiting.length > 0 || running.size > 0) {
    const at = running.size < atOnceMax ? waiting.findIndex(job => mayBegin(job, running, kinds)) : -1
    if (at === -1) {
      await Promise.race(running.values())
      continue
    }
    const [job] = waiting.splice(at, 1) as [Job]
    running.set(
      job,
      run(job).finally(() => running.delete(job)),
    )
  }
}

function mayBegin<Job>(job: Job, running: ReadonlyMap<Job, unknown>, kinds: readonly Kind<Job>[]): boolean {
  return kinds.every(({ is, atOnceMax }) => !is(job) || [...running.keys()].filter(is).length < atOnceMax)
}
