/**
 * The bench's own load makers, each a process on the load's core: what neither wrk nor h2load can do.
 *
 *   we start it ─► it prepares ─► `ready` ─► we look at the clocks and say `go` ─► it works ─► a line of JSON
 */
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type Child, start } from '../children.ts'

const readyTimeoutMs = 120_000

/** Starts the script and waits until it is ready. */
export async function prepare(script: string, options: object): Promise<Child> {
  const path = fileURLToPath(new URL(script, import.meta.url))
  const child = start('others', [process.execPath, path, JSON.stringify(options)], { stdin: 'pipe' })
  try {
    const line = await child.line(readyTimeoutMs)
    if (line !== 'ready') throw new Error((JSON.parse(line) as { error?: string }).error ?? line)
    return child
  } catch (error) {
    await child.stop()
    throw error
  }
}

/** Lets it work and hands back what it tells. */
export async function go<T>(child: Child, command = 'go', timeoutMs = 120_000): Promise<T> {
  child.say(command)
  const line = JSON.parse(await child.line(timeoutMs)) as T & { error?: string }
  if (line.error !== undefined) throw new Error(line.error)
  return line
}

/** The script's side: reads its options, says `ready` when `begin` resolves, answers each command with a line. */
export async function serveLoad<Options>(
  begin: (options: Options) => Promise<(command: string) => Promise<object>>,
): Promise<void> {
  const say = (line: string) => process.stdout.write(`${line}\n`)
  const fail = (error: unknown) => {
    say(JSON.stringify({ error: (error as Error).message }))
    process.exit(1)
  }
  process.on('uncaughtException', fail)
  try {
    const work = await begin(JSON.parse(process.argv[2] ?? '{}') as Options)
    say('ready')
    for await (const command of createInterface({ input: process.stdin })) {
      say(JSON.stringify(await work(command)))
    }
    process.exit(0)
  } catch (error) {
    fail(error)
  }
}

/** Runs `open` for 0 … count − 1, so many at a time. */
export async function inParallel(
  count: number,
  width: number,
  open: (index: number) => Promise<void>,
): Promise<void> {
  let next = 0
  const worker = async () => {
    while (next < count) await open(next++)
  }
  await Promise.all(Array.from({ length: Math.min(width, count) }, worker))
}
