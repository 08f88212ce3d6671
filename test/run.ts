/**
 * `npm test`: checks the sources, looks at what this machine can run, runs it with `tap`, says in one line what was left out
 * and how to get it. With `CI=true` anything left out is a failure.
 *
 *   npm test                    everything
 *   npm test -- test/unit       only the files below a folder, or the files named
 */
import { spawnSync } from 'node:child_process'
import { accessSync, constants, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'

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
]

const inCi = process.env.CI === 'true'
const asked = process.argv.slice(2)
const bin = join(import.meta.dirname, '../node_modules/.bin')

process.exitCode = main()

function main(): number {
  const checked = asked.length > 0 || run('npm', ['run', '--silent', 'check']) === 0
  const files = testFiles()
  const left = needs.filter(need => !need.have())
  const chosen = files.filter(file => !left.some(need => need.files.test(file)))
  const tapped = runTap(chosen)
  const leftOut = files.length - chosen.length
  if (leftOut > 0) {
    console.log(
      `Left out: ${leftOut} files, ${left.map(need => need.what).join('; ')}. Get it with: npm run setup`,
    )
  }
  if (!checked) console.log('The sources do not pass `npm run check` (above).')
  console.log(`${tapped.passed} passed, ${tapped.failed + (checked ? 0 : 1)} failed`)
  return checked && tapped.ok && !(inCi && leftOut > 0) ? 0 : 1
}

function testFiles(): readonly string[] {
  const patterns =
    asked.length > 0
      ? asked.map(arg => (arg.endsWith('.ts') ? arg : `${arg}/**/*.test.ts`))
      : ['test/**/*.test.ts']
  const files = patterns.flatMap(pattern => globSync(pattern)).sort()
  if (files.length === 0) throw new Error(`no test files match ${patterns.join(' ')}`)
  return files
}

/** Each file is a process of its own; assertions are counted from the TAP that the runner writes. */
function runTap(files: readonly string[]): { ok: boolean; passed: number; failed: number } {
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-test-'))
  const out = join(directory, 'out.tap')
  try {
    if (run('tap', ['build']) !== 0) return { ok: false, passed: 0, failed: 1 }
    const code = run('tap', [
      'run',
      '--timeout=400',
      '--jobs=2',
      `--reporter=${process.stdout.isTTY ? 'base' : 'min'}`,
      `--output-file=${out}`,
      ...files,
    ])
    const summary = count(readFileSync(out, 'utf8'))
    return { ok: code === 0 && summary.failed === 0 && summary.passed > 0, ...summary }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** Counts leaf assertions: a line that closes a subtest only sums up what was counted inside it. */
function count(tap: string): { passed: number; failed: number } {
  let passed = 0
  let failed = 0
  let deepest = 0
  for (const line of tap.split('\n')) {
    const match = /^( *)(not )?ok \d+/.exec(line)
    if (!match) continue
    const depth = match[1]!.length
    const closes = depth < deepest
    deepest = depth
    if (closes) continue
    if (match[2]) failed++
    else passed++
  }
  return { passed, failed }
}

function run(command: string, args: readonly string[]): number {
  const env = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` }
  return spawnSync(command, args, { stdio: 'inherit', env }).status ?? 1
}

function onPath(name: string): boolean {
  const folders = (process.env.PATH ?? '').split(delimiter)
  return folders.some(folder => {
    try {
      accessSync(join(folder, name), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
