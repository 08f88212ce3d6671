/** Runs a program of the system to its end, with a deadline: what it says is bounded, what it is told is its input. */
import { spawn } from 'node:child_process'

export class CommandFailure extends Error {
  /** What it said on its standard error. */
  readonly words: string

  constructor(command: string, words: string) {
    super(`${command}: ${words}`)
    this.name = 'CommandFailure'
    this.words = words
  }
}

const timeoutMs = 15_000
const outputCharsMax = 64 * 1024
const wordsCharsMax = 500

/** Its standard output. Throws `CommandFailure`, or the signal's reason. */
export function runCommand(
  command: string,
  args: readonly string[],
  options: { readonly input?: string; readonly signal?: AbortSignal },
): Promise<string> {
  const { input, signal } = options
  if (signal?.aborted) return Promise.reject(signal.reason)
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  // In the C locale: its words are read by us too.
  const env = { PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' }
  const child = spawn(command, args, { env, timeout: timeoutMs, killSignal: 'SIGKILL', stdio: 'pipe' })
  const onAbort = () => child.kill('SIGKILL')
  signal?.addEventListener('abort', onAbort, { once: true })
  let said = ''
  let words = ''
  child.stdout.on('data', chunk => {
    said = (said + chunk).slice(0, outputCharsMax)
  })
  child.stderr.on('data', chunk => {
    words = (words + chunk).slice(-wordsCharsMax)
  })
  child.once('error', error => reject(new CommandFailure(command, `cannot be run: ${error.message}`)))
  child.once('close', (status, ended) => {
    signal?.removeEventListener('abort', onAbort)
    if (status === 0) resolve(said)
    else if (signal?.aborted) reject(signal.reason)
    else reject(new CommandFailure(command, words.trim() || `ended with ${ended ?? status}`))
  })
  child.stdin.on('error', () => {})
  child.stdin.end(input ?? '')
  return promise
}
