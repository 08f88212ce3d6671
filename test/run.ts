/**
 * `npm test`: checks the sources, looks at what this machine can run, runs it and says a line for each file, and at the end in one
 * line what was left out and how to get it, also within a file (`support/left-out.ts`). With `CI=true` anything left out is a failure,
 * but for what no setup gives a machine, which is only told.
 *
 * The files are run as they are, by `node`: a runner that loads itself into every process of theirs would cost a fifth of the time, and so does
 * tap where it follows every promise, which it is kept from (`support/without-domains.ts`).
 *
 *   npm test                    everything
 *   npm test -- test/unit       only the files below a folder, or the files named
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { inLanes } from './support/lanes.ts'
import { onPath } from './support/on-path.ts'
import { TapDigest } from './support/tap-digest.ts'

interface Need {
  /** Whether a test file needs it. */
  readonly has: (file: string) => boolean
  readonly what: string
  readonly have: () => boolean
}

const needs: readonly Need[] = [
  {
    has: file => /qemu/.test(file),
    what: 'the tests on real VMs (QEMU, busybox)',
    have: () => ['qemu-system-x86_64', 'busybox'].every(onPath),
  },
  {
    has: file => leadsTo(file, /support\/(?:certificates|self-signed)\.ts$/),
    what: 'the tests with certificates (openssl)',
    have: () => onPath('openssl'),
  },
]

/** A backstop: booting VMs without hardware virtualisation takes its time, on a machine with other work several times as long. */
const fileTimeoutMs = 900_000
const lingerMs = 5_000
/** One more than the processors: a test that waits leaves its processor to another. */
const jobs = availableParallelism() + 1
/** Under software emulation each keeps a processor busy. */
const machines = {
  is: (file: string) => /qemu/.test(file),
  atOnceMax: Math.max(2, availableParallelism() - 1),
}
/** It keeps all processors busy by itself: it runs first, and alone. */
const alone = /simulation\/faults/
/** These take longest and begin first; after them the folders whose tests wait for processes and sockets. */
const longest = [
  /crash\/qemu/,
  /crash\/process/,
  /scale\/qemu/,
  /driver\/qemu/,
  /faults\/qemu/,
  /qemu/,
  /churn/,
  /(?:faults|scale|admin|scaling)\//,
  /integration\//,
  /contract\//,
]
const inCi = process.env.CI === 'true'
const asked = process.argv.slice(2)
const untracked = pathToFileURL(join(import.meta.dirname, 'support/without-domains.ts')).href
const bin = join(import.meta.dirname, '../node_modules/.bin')
const env = {
  ...process.env,
  PATH: `${bin}${delimiter}${process.env.PATH}`,
  // Each file is a process that loads the same modules: compiled once, they start in two thirds of the time.
  NODE_COMPILE_CACHE: join(bin, '../.cache/node-compile'),
  // In seconds, for each test within a file; the runner's own limit comes last.
  TAP_TIMEOUT: String(fileTimeoutMs / 1_000 - 60),
}
const children = new Set<ChildProcess>()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    for (const child of children) child.kill(signal)
    process.exit(1)
  })
}

process.exitCode = await main()

async function main(): Promise<number> {
  const files = testFiles()
  const left = needs.filter(need => !need.have())
  const chosen = files.filter(file => !left.some(need => need.has(file)))
  const sum = { passed: 0, failed: 0 }
  const parts = new Set<string>()
  const notHere = new Set<string>()
  const run = async (file: string) => {
    const done = file === 'check' ? await check() : await runFile(file)
    sum.passed += done.passed
    sum.failed += done.failed
    for (const what of done.leftOut) parts.add(what)
    for (const what of done.notHere) notHere.add(what)
  }
  for (const file of chosen.filter(file => alone.test(file))) await run(file)
  const others = chosen.filter(file => !alone.test(file))
  await inLanes([...(asked.length > 0 ? [] : ['check']), ...others], jobs, [machines], run)
  const leftOut = files.length - chosen.length
  if (leftOut > 0) {
    console.log(
      `Left out: ${left.map(need => need.what).join('; ')}: ${leftOut} files. Get it with: npm run setup`,
    )
  }
  for (const what of parts) console.log(`Left out of a file: ${what}`)
  for (const what of notHere) console.log(`Not on this machine: ${what}`)
  console.log(`${sum.passed} passed, ${sum.failed} failed`)
  const whole = leftOut === 0 && parts.size === 0
  return sum.failed === 0 && sum.passed > 0 && (whole || !inCi) ? 0 : 1
}

/** Whether a file is one of those, or names one that is, or one that leads there. */
function leadsTo(file: string, where: RegExp, seen = new Set<string>()): boolean {
  if (where.test(file)) return true
  if (seen.has(file) || !existsSync(file)) return false
  seen.add(file)
  const named = readFileSync(file, 'utf8').matchAll(/'(\.{1,2}\/[^']+\.ts)'/g)
  return [...named].some(([, path]) => leadsTo(join(dirname(file), path!), where, seen))
}

function testFiles(): readonly string[] {
  const patterns =
    asked.length > 0
      ? asked.map(arg => (arg.endsWith('.ts') ? arg : `${arg}/**/*.test.ts`))
      : ['test/**/*.test.ts']
  const files = [...new Set(patterns.flatMap(pattern => globSync(pattern)))]
  if (files.length === 0) throw new Error(`no test files match ${patterns.join(' ')}`)
  const rank = (file: string) => longest.findIndex(one => one.test(file)) + 1 || Number.POSITIVE_INFINITY
  return files.toSorted().toSorted((a, b) => Math.sign(rank(a) - rank(b)) || 0)
}

/** Style and types, told only if something is wrong. */
async function check(): Promise<Counts> {
  const lines: string[] = []
  const { code } = await start('npm', ['run', '--silent', 'check'], 'pipe', line => lines.push(line))
  console.log(code === 0 ? 'ok     npm run check' : ['FAILED npm run check', ...lines].join('\n'))
  const nothing = { leftOut: [], notHere: [] }
  return code === 0 ? { passed: 1, failed: 0, ...nothing } : { passed: 0, failed: 1, ...nothing }
}

/** A file is a process of its own. It has passed when it ended well, had all the tests it planned, and none of them failed. */
async function runFile(file: string): Promise<Counts> {
  const digest = new TapDigest()
  const { code, tookMs } = await start(process.execPath, ['--import', untracked, file], 'inherit', line =>
    digest.line(line),
  )
  const { passed, failed, ended, leftOut, notHere } = digest
  const well = code === 0 && failed === 0 && ended
  console.log(`${well ? 'ok    ' : 'FAILED'} ${file} ${(tookMs / 1000).toFixed(1)} s`)
  if (well) return { passed, failed, leftOut, notHere }
  for (const line of digest.faults()) console.log(line)
  if (!ended) console.log(`${file} did not come to its end: ${code ?? 'killed'}`)
  return { passed, failed: Math.max(1, failed), leftOut, notHere }
}

interface Counts {
  readonly passed: number
  readonly failed: number
  readonly leftOut: readonly string[]
  readonly notHere: readonly string[]
}

/** Resolves when the process has ended and all it said was heard; one that takes too long is killed. */
async function start(
  command: string,
  args: readonly string[],
  stderr: 'pipe' | 'inherit',
  heard: (line: string) => void,
): Promise<{ readonly code: number | null; readonly tookMs: number }> {
  const startedAtMs = performance.now()
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', stderr] })
  children.add(child)
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
    // Whoever it left behind may hold its output open.
    child.once('exit', code => setTimeout(resolve, lingerMs, code).unref())
  })
  const limit = setTimeout(() => child.kill('SIGKILL'), fileTimeoutMs)
  for (const stream of [child.stdout, child.stderr])
    if (stream) createInterface({ input: stream }).on('line', heard)
  try {
    return { code: await ended, tookMs: performance.now() - startedAtMs }
  } finally {
    clearTimeout(limit)
    children.delete(child)
  }
}
