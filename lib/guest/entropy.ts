/**
 * Makes a cloned VM's Node process draw random numbers of its own. Guest side, VM clones only: an instance that is a
 * fresh process was never duplicated. Of the random sources that two clones share it mends the kernel's pool, OpenSSL's
 * generators of every thread and Node's own caches on the calling thread. It cannot mend `Math.random`, the caches of
 * worker threads, or generators inside the application's libraries.
 *
 * Why the clock is stepped. OpenSSL 3 keeps a tree of generators: a primary one, seeded by the kernel, and two for each
 * thread (public and private), seeded by the primary. Each serves from its own state and looks at the world outside only
 * when it must reseed: after 2^16 requests (2^8 for the primary), in a forked child, when its parent was reseeded, or when
 * `time(NULL)` is before its last reseed or too long after it. A clone is no fork, Node gives no way to ask for a reseed,
 * and the request counts would take millions of calls. The time is left: with the clock back in 1980, the next draw
 * reseeds the calling thread's generator, that asks the primary, which reseeds from the kernel, and so every other
 * thread's generator does too on its next draw. With the true time set again, the next draw does all that once more, so
 * that the last reseed is not left in 1980 for the clones of this clone.
 */
import { generateKeyPairSync, randomBytes, randomInt, randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import type { Clock } from '../clock.ts'
import { reseedKernel, setWallClock } from './mender.ts'

/** 1980-01-01. Long before any seeding, and not below the uptime, which Linux refuses as a time. */
const longAgoMs = 315_532_800_000
/** Node hands out UUIDs from batches of this many, and `randomInt` from a buffer of 6 KiB in draws of 6 bytes. */
const uuidBatch = 128
const randomIntBatch = 1024

/**
 * Gives `entropy` to the kernel and makes its generator reseed at once. What is only written to /dev/urandom is used at the
 * next reseed, up to a minute later, and until then the kernels of two clones give equal bytes (seen with Linux 6.1).
 * Reseeding takes an ioctl, which Node cannot make: the image's mender does. Returns what went wrong, in people's words, or null.
 */
export function mixIntoKernel(entropy: Uint8Array, clock: Clock): string | null {
  try {
    writeFileSync('/dev/urandom', entropy)
  } catch (error) {
    return `entropy could not be written to /dev/urandom: ${error instanceof Error ? error.message : error}`
  }
  const problem = reseedKernel(entropy, clock)
  return problem && `the kernel's generator was not reseeded: ${problem}`
}

/**
 * Sets the wall clock to the time that was true when `clock.monotonic()` was `asOfMs`, and on the way makes OpenSSL reseed.
 * Blocks the event loop throughout, so that no JavaScript of the calling thread ever sees 1980. Returns what could not
 * be done; throws if the clock was stepped back and could not be put right, because nothing should run then.
 */
export function setTimeAndReseed(wallClockMs: number, asOfMs: number, clock: Clock): readonly string[] {
  const setTrueTime = () => setWallClock(wallClockMs + clock.monotonic() - asOfMs, clock)
  const back = setWallClock(longAgoMs, clock)
  if (back !== null) {
    burnCaches()
    return [
      `the clock could not be set, so the time and OpenSSL's random state are still the source's: ${back}`,
    ]
  }
  let problem: string | null = null
  try {
    drawFromOpenssl()
  } finally {
    problem = setTrueTime()
    if (problem !== null) problem = setTrueTime()
  }
  if (problem !== null) throw new Error(`the clock was stepped back and could not be set right: ${problem}`)
  drawFromOpenssl()
  burnCaches()
  return []
}

/** Throws away what Node drew before the clone and would still hand out. To be called after the reseed. */
export function burnCaches(): void {
  for (let i = 0; i < uuidBatch; i++) randomUUID()
  for (let i = 0; i < randomIntBatch; i++) randomInt(2)
}

/** One draw from the public generator and one from the private one, which makes keys. */
function drawFromOpenssl(): void {
  randomBytes(32)
  generateKeyPairSync('x25519')
}
