/** The trial that decides between KVM and emulation, with programs of our own in QEMU's place that count how often they are run. */
import { chmodSync, existsSync, mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../../../lib/clock.ts'
import { chooseAccelerator } from '../../../../lib/hypervisor/qemu/accelerator.ts'
import { createQemuDriver } from '../../../../lib/hypervisor/qemu/driver.ts'
import { silentLog } from '../../../../lib/log.ts'
import { ManualClock } from '../../../support/manual-clock.ts'
import { until } from '../../../support/wait.ts'

const comesUp = 'echo "[    0.000000] Linux version 6.1.0"'

/** A QEMU that does `trial` when it is to boot a kernel; a kernel; a cache of the user's own. */
function machine(t: Test, trial: string) {
  const directory = t.testdir({ vmlinuz: 'a kernel' })
  const [binary, kernel, trials] = ['qemu', 'vmlinuz', 'trials'].map(name => join(directory, name))
  const install = (trial: string, version = '7.2.0') => {
    const script = `#!/bin/sh
[ "$1" = --version ] && { echo "QEMU emulator version ${version}"; exit; }
case "$*" in *"-qmp stdio") cat <<'END'
{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}, "capabilities": []}}
{"return": {"arch": "x86_64"}, "id": "target"}
END
exit;; esac
echo "$@" >> ${trials}
${trial}
`
    writeFileSync(binary!, script)
    chmodSync(binary!, 0o755)
  }
  install(trial)
  const before = process.env.XDG_CACHE_HOME
  process.env.XDG_CACHE_HOME = join(directory, 'cache')
  t.teardown(() => {
    if (before === undefined) delete process.env.XDG_CACHE_HOME
    else process.env.XDG_CACHE_HOME = before
  })
  const ran = () => (existsSync(trials!) ? readFileSync(trials!, 'utf8').trim().split('\n') : [])
  const choose = (clock = systemClock) =>
    chooseAccelerator('auto', { binary: binary!, kernel: kernel!, clock })
  const kept = join(directory, 'cache/tidegate/accelerator.json')
  return { directory, binary: binary!, kernel: kernel!, install, ran, choose, kept }
}

t.test('a kernel that says its version under KVM is the proof, and is asked for once', async t => {
  const { choose, ran, kernel } = machine(t, comesUp)
  t.match(await choose(), { accelerator: 'kvm' })
  t.match(await choose(), { accelerator: 'kvm' }, 'from the cache')
  t.equal(ran().length, 1)
  t.match(ran()[0], /-accel kvm -cpu host/)
  t.ok(ran()[0]?.includes(`-kernel ${kernel}`))
})

t.test('what is configured is not tried', async t => {
  const { binary, kernel, ran } = machine(t, comesUp)
  for (const choice of ['kvm', 'tcg'] as const) {
    const verdict = await chooseAccelerator(choice, { binary, kernel, clock: systemClock })
    t.same(verdict, { accelerator: choice, reason: 'as configured' })
  }
  t.same(ran(), [])
})

t.test('a device that opens proves nothing: QEMU that ends, says something else, or fails', async t => {
  const faults: Readonly<Record<string, [string, RegExp]>> = {
    silent: ['exit 0', /the kernel had said nothing/],
    'only the firmware': ['echo SeaBIOS; exit 0', /the kernel had said nothing/],
    refused: ['echo "Could not access KVM kernel module" >&2; exit 1', /Could not access KVM/],
    'an MSR': ['echo "error: failed to set MSR 0x38d" >&2; kill -ABRT $$', /MSR 0x38d/],
    endless: ['yes', /KVM does not work: .*maxBuffer/],
  }
  for (const [what, [trial, reason]] of Object.entries(faults)) {
    await t.test(what, async t => {
      const { choose } = machine(t, trial)
      t.match(await choose(), { accelerator: 'tcg', reason })
    })
  }
})

t.test('a kernel that spins for ever is given up after eight seconds, and its QEMU is ended', async t => {
  const { choose, ran, directory } = machine(t, `echo $$ > "$(dirname "$0")/pid"; exec sleep 600`)
  const clock = new ManualClock()
  const chosen = choose(clock)
  const pid = await until('it runs', () => {
    const path = join(directory, 'pid')
    return existsSync(path) && Number(readFileSync(path, 'utf8'))
  })
  await clock.advance(7_999)
  t.ok(existsSync(`/proc/${pid}`), 'it has its time')
  await clock.advance(1)
  t.match(await chosen, { accelerator: 'tcg', reason: /did not come up within 8 s/ })
  await until('it is gone', () => !existsSync(`/proc/${pid}`))
  t.match(await choose(clock), { accelerator: 'tcg' })
  t.equal(ran().length, 1, 'which is remembered too')
  t.equal(clock.pending, 0)
})

t.test('a verdict is for one kernel file and one QEMU', async t => {
  const { choose, ran, install, kernel } = machine(t, comesUp)
  await choose()
  utimesSync(kernel, 1, 1)
  await choose()
  t.equal(ran().length, 2, 'another time')
  writeFileSync(kernel, 'another kernel, which is longer')
  utimesSync(kernel, 1, 1)
  await choose()
  t.equal(ran().length, 3, 'another size')
  install('exit 0', '8.0.0')
  t.match(await choose(), { accelerator: 'tcg' }, 'another QEMU')
  t.equal(ran().length, 4)
})

t.test('a cache that is damaged, foreign or cannot be written costs a trial, nothing more', async t => {
  const { choose, ran, kept, kernel } = machine(t, comesUp)
  await choose()
  const good = readFileSync(kept, 'utf8')
  for (const bad of [
    '',
    '[]',
    '{',
    good.replace('"kvm"', '"magic"'),
    good.replace(/"reason": "[^"]*"/, '"x": 1'),
  ]) {
    writeFileSync(kept, bad)
    t.match(await choose(), { accelerator: 'kvm' }, JSON.stringify(bad))
  }
  t.equal(ran().length, 6)
  t.match(await choose(), { accelerator: 'kvm' })
  t.equal(ran().length, 6, 'and is good again')
  process.env.XDG_CACHE_HOME = kernel
  t.match(await choose(), { accelerator: 'kvm' })
  t.equal(ran().length, 7)
})

t.test('whoever gives up a boot during the trial hears so at once', async t => {
  const { directory, binary, kernel, ran, kept } = machine(t, 'exec sleep 600')
  const initrd = join(directory, 'initrd')
  writeFileSync(initrd, 'a file system')
  writeFileSync(kernel, `${'\0'.repeat(0x202)}HdrS`)
  mkdirSync(join(directory, 'node'))
  const resources = { cpus: 1, memoryBytes: 2 ** 28, diskBytes: 0 }
  const clock = new ManualClock()
  const node = {
    ...({ id: 'n', driver: 'qemu', zone: 'a', capacity: resources } as const),
    ...{ directory: join(directory, 'node'), options: { binary } },
  }
  const driver = createQemuDriver(node, { clock, log: silentLog })
  const owner = { installation: 'i', cluster: 'c', operation: 'o' }
  const spec = { name: 'c-o-1', owner, port: 8080, resources, template: { kernel, initrd } }
  const stop = new AbortController()
  const made = driver.create(spec, stop.signal)
  await Promise.race([made, until('the trial runs', () => ran().length > 0)])
  stop.abort(new Error('enough'))
  await t.rejects(made, { message: 'enough' })
  await clock.advance(8_000)
  t.same((await driver.inspect()).instances, [])
  // The trial goes on for whoever asks next, and writes what it found.
  await until('its verdict is kept', () => existsSync(kept))
})
