/**
 * `npm test`: checks the sources, looks at what this machine can run, runs it with `tap` and says a line for each file, and at the
 * end in one line what was left out and how to get it. With `CI=true` anything left out is a failure.
 *
 *   npm test                    everything
 *   npm test -- test/unit       only the files below a folder, or the files named
 */
import { spawn, spawnSync } from 'node:child_process'
import { accessSync, constants, globSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import { TapDigest } from './support/tap-digest.ts'

interface Need {
  /** Test files that need it. */
  readonly files: RegExp
  readonly what: string
  readonly have: () => boolean
}

const needs: readonly Need[] = [
  {
    files: /qemu/,
    what: 'the tests on real VMs (QEMU, busybox)',
    have: () => ['qemu-system-x86_64', 'busybox'].every(onPath),
  },
  {
    files: /\/tls\/|certificates\.test|\/h2\/(?:requests|backends|grpc|random-frames)\.test/,
    what: 'the tests with certificates (openssl)',
    have: () => onPath('openssl'),
  },
]

/** The longest a single file may take, seconds: booting VMs without hardware virtualisation takes its time. */
const fileTimeoutSeconds = 400
const jobs = 2
const inCi = process.env.CI === 'true'
const asked = process.argv.slice(2)
const bin = join(import.meta.dirname, '../node_modules/.bin')
const env = {
  ...process.env,
  PATH: `${bin}${delimiter}${process.env.PATH}`,
  // Each file is a process that loads the same modules: compiled once, they start in two thirds of the time.
  NODE_COMPILE_CACHE: join(bin, '../.cache/node-compile'),
}

process.exitCode = await main()

async function main(): Promise<number> {
  const checked = asked.length > 0 || run('npm', ['run', '--silent', 'check'])
  const files = testFiles()
  const left = needs.filter(need => !need.have())
  const chosen = files.filter(file => !left.some(need => need.files.test(file)))
  const digest = new TapDigest(line => console.log(line))
  const ran = run('tap', ['build']) && (await runTap(chosen, digest))
  const leftOut = files.length - chosen.length
  if (leftOut > 0) {
    console.log(
      `Left out: ${left.map(need => need.what).join('; ')}: ${leftOut} files. Get it with: npm run setup`,
    )
  }
  if (!checked) console.log('The sources do not pass `npm run check` (above).')
  const failed = digest.failed + (checked ? 0 : 1) + (ran || digest.failed > 0 ? 0 : 1)
  console.log(`${digest.passed} passed, ${failed} failed`)
  return failed === 0 && digest.passed > 0 && !(inCi && leftOut > 0) ? 0 : 1
}

function testFiles(): readonly string[] {
  const patterns =
    asked.length > 0
      ? asked.map(arg => (arg.endsWith('.ts') ? arg : `${arg}/**/*.test.ts`))
      : ['test/**/*.test.ts']
  const files = patterns.flatMap(pattern => globSync(pattern))
  if (files.length === 0) throw new Error(`no test files match ${patterns.join(' ')}`)
  // By name: a driver's tests on VMs then run beside those on processes, which leave them most of the second core.
  return files.toSorted()
}

/** Each file is a process of its own. */
async function runTap(files: readonly string[], digest: TapDigest): Promise<boolean> {
  const options = [`--timeout=${fileTimeoutSeconds}`, `--jobs=${jobs}`, '--reporter=tap']
  const child = spawn('tap', ['run', ...options, ...files], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise<boolean>(resolve => child.on('close', code => resolve(code === 0)))
  for await (const line of createInterface({ input: child.stdout })) digest.line(line)
  return ended
}

function run(command: string, args: readonly string[]): boolean {
  return spawnSync(command, args, { stdio: 'inherit', env }).status === 0
}

function onPath(name: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some(folder => {
    try {
      accessSync(join(folder, name), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
