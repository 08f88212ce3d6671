/** What a sync of this disk takes by itself: what no decision that is on disk can be sooner than. */
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

/** About what a transaction appends to the log of the store: its pages and their headers. */
const transactionBytes = 5 * (4_096 + 24)
/** As between decisions: a disk that is written without a pause has other times. */
const pauseMs = 20

/** Milliseconds each, of appending so much and syncing it. */
export async function syncs(directory: string, count: number): Promise<readonly number[]> {
  const path = join(directory, 'sync')
  const file = await open(path, 'w')
  const bytes = Buffer.alloc(transactionBytes, 1)
  const times: number[] = []
  try {
    for (let n = 0; n < count; n++) {
      const begunMs = performance.now()
      await file.write(bytes)
      await file.datasync()
      times.push(performance.now() - begunMs)
      await delay(pauseMs)
    }
  } finally {
    await file.close()
    await rm(path)
  }
  return times
}
