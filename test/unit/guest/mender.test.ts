/** The agent and the image's mender, over real pipes. It is never told a time that it could set: this machine's clock is ours. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { menderProgram } from '../../../examples/vm/mender.ts'
import { systemClock } from '../../../lib/clock.ts'
import { reseedKernel, setWallClock } from '../../../lib/guest/mender.ts'

const entropy = Buffer.alloc(64, 7)

function pipes(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'mender-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const place = join(folder, 'mender')
  spawnSync('mkfifo', [`${place}.in`, `${place}.out`])
  return place
}

/** Started as the image's init starts it, with both ends of both pipes in its hands. */
async function started(t: Test, place: string) {
  const program = join(place, '../program')
  writeFileSync(program, menderProgram(), { mode: 0o755 })
  const ends = ['in', 'out'].map(end => openSync(`${place}.${end}`, constants.O_RDWR))
  const child = spawn(program, { stdio: [ends[0]!, ends[1]!, 'ignore'] })
  for (const fd of ends) closeSync(fd)
  const ended = once(child, 'exit')
  t.teardown(() => child.kill('SIGKILL'))
  await once(child, 'spawn')
  return { end: () => child.kill('SIGKILL') && ended }
}

t.test('entropy and time reach the kernel, and its refusals the agent', async t => {
  const place = pipes(t)
  const env = { TIDEGATE_MENDER: place }
  const mender = await started(t, place)
  const mixed = reseedKernel(entropy, systemClock, env)
  if (process.getuid?.() === 0) t.equal(mixed, null)
  else t.match(mixed, /errno 1$/, 'not without the right')
  t.match(setWallClock(-1, systemClock, env), /errno (22|1)$/, 'no time before 1970')

  const old = openSync(`${place}.out`, constants.O_RDWR)
  writeSync(old, Buffer.from([77]))
  closeSync(old)
  t.notMatch(setWallClock(-1, systemClock, env), /errno 77/, 'an answer that nobody took is not the next one')

  await mender.end()
  t.match(reseedKernel(entropy, systemClock, env), /mender: /, 'one that ended is not waited for')
})

t.test('an image without one, or with one that is silent', async t => {
  t.match(reseedKernel(entropy, systemClock, {}), /sets no TIDEGATE_MENDER/)
  const place = pipes(t)
  t.match(setWallClock(0, systemClock, { TIDEGATE_MENDER: place }), /ENXIO/)
  const silent = ['in', 'out'].map(end => openSync(`${place}.${end}`, constants.O_RDWR))
  t.teardown(() => silent.forEach(closeSync))
  let nowMs = 0
  const clock = { ...systemClock, monotonic: () => (nowMs += 1_000) }
  t.match(setWallClock(0, clock, { TIDEGATE_MENDER: place }), /did not answer within 3000 ms/)
})

t.test('an image without one has its clock set by its `date`, or says what is missing', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'date-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const date = join(folder, 'date')
  const program = (text: string) => writeFileSync(date, `#!/bin/sh\n${text}\n`, { mode: 0o755 })
  program(`echo "$@" > ${folder}/asked`)
  t.equal(setWallClock(1_700_000_000_600, systemClock, {}, date), null)
  t.equal(readFileSync(join(folder, 'asked'), 'utf8'), '-s @1700000001\n')
  program('echo "cannot set date: Operation not permitted" >&2; exit 1')
  const refused = setWallClock(0, systemClock, {}, date)
  t.match(refused, /no mender \(it sets no TIDEGATE_MENDER\).*`date` does not set the clock: .*not permitted/)
  t.match(setWallClock(0, systemClock, {}, join(folder, 'none')), /ENOENT/)
})
