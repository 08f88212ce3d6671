/**
 * The agent's end of the mender: a small program of the VM's image that runs from the boot on and sets the clock and makes
 * the kernel reseed (`examples/vm/mender.ts` has it and the form of its records). Starting a program for each takes a guest
 * under emulation half a second, of which a clone would spend three before it may serve.
 *
 * An image may do without: its clock is then set by `date`, and its kernel left to reseed by itself (VM generation id).
 *
 * It is asked through two named pipes, `<place>.in` and `<place>.out`, and waited for with the event loop standing still: in
 * between nothing of the application may run.
 */
import { spawnSync } from 'node:child_process'
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs'
import type { Clock } from '../clock.ts'
import { guestEnv } from './protocol.ts'

const answerTimeoutMs = 3_000
/** A program that is started in an emulated guest takes most of a second. */
const dateTimeoutMs = 10_000
const pollMs = 1
const recordBytes = 536
/** After the time: `struct rand_pool_info` of random(4). */
const poolAt = 16
const poolBytesMax = 512

/** Has the kernel mix `entropy` into its pool and reseed. Returns what went wrong, in people's words, or null. */
export function reseedKernel(entropy: Uint8Array, clock: Clock, env = process.env): string | null {
  const record = Buffer.alloc(recordBytes)
  const used = entropy.subarray(0, poolBytesMax)
  record.writeInt32LE(used.length * 8, poolAt)
  record.writeInt32LE(used.length, poolAt + 4)
  record.set(used, poolAt + 8)
  return ask(record, clock, env)
}

/** Sets the wall clock; in an image without a mender by `date`, to the second. Returns as `reseedKernel`. */
export function setWallClock(ms: number, clock: Clock, env = process.env, date = 'date'): string | null {
  if (!env[guestEnv.mender]) return setByProgram(ms, date)
  const record = Buffer.alloc(recordBytes)
  const seconds = Math.floor(ms / 1000)
  record.writeBigInt64LE(BigInt(seconds), 0)
  record.writeBigInt64LE(BigInt(Math.floor((ms - seconds * 1000) * 1e6)), 8)
  return ask(record, clock, env)
}

/** `@seconds` is understood by both GNU and busybox `date`. A fraction of a second is not, by the latter. */
function setByProgram(ms: number, date: string): string | null {
  const run = spawnSync(date, ['-s', `@${Math.round(ms / 1000)}`], {
    timeout: dateTimeoutMs,
    encoding: 'utf8',
  })
  if (!run.error && run.status === 0) return null
  const why = run.error?.message ?? (run.stderr.trim() || `it ended with ${run.status ?? run.signal}`)
  return `the image has no mender (it sets no ${guestEnv.mender}), and its \`date\` does not set the clock: ${why}`
}

function ask(record: Buffer, clock: Clock, env: NodeJS.ProcessEnv): string | null {
  const place = env[guestEnv.mender]
  if (!place) return `the image sets no ${guestEnv.mender}`
  const open: number[] = []
  try {
    const opened = (end: string, flags: number) => {
      const fd = openSync(`${place}.${end}`, flags | constants.O_NONBLOCK)
      open.push(fd)
      return fd
    }
    const answers = opened('out', constants.O_RDONLY)
    // Nobody reads at the other end: it does not run, and this throws.
    const requests = opened('in', constants.O_WRONLY)
    // An answer that an earlier agent did not wait for.
    while (readByte(answers) !== null);
    writeSync(requests, record)
    const status = awaitByte(answers, clock)
    return status === 0 ? null : `the mender at ${place} failed with errno ${status}`
  } catch (error) {
    return `the mender at ${place}: ${error instanceof Error ? error.message : error}`
  } finally {
    for (const fd of open) closeSync(fd)
  }
}

function awaitByte(fd: number, clock: Clock): number {
  const nobody = new Int32Array(new SharedArrayBuffer(4))
  const deadline = clock.monotonic() + answerTimeoutMs
  while (clock.monotonic() < deadline) {
    Atomics.wait(nobody, 0, 0, pollMs)
    const byte = readByte(fd)
    if (byte !== null) return byte
  }
  throw new Error(`it did not answer within ${answerTimeoutMs} ms`)
}

/** Null: there is none yet. Throws when nobody is left to write one. */
function readByte(fd: number): number | null {
  const byte = Buffer.alloc(1)
  try {
    if (readSync(fd, byte) === 1) return byte[0]!
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return null
    throw error
  }
  throw new Error('it does not run')
}
