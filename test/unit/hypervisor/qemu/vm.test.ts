/** A QEMU that is started and ended, as far as its monitor decides it: programs of our own that are asked as it would be. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Clock, systemClock } from '../../../../lib/clock.ts'
import { files } from '../../../../lib/hypervisor/qemu/command-line.ts'
import { endVm, startVm } from '../../../../lib/hypervisor/qemu/vm.ts'
import { findVmm, killVmm, spawnVmm } from '../../../../lib/hypervisor/vm/process.ts'
import { answered, fakeMonitor, greeting } from '../../../support/fake-monitor.ts'

/** A short path: tests listen in it by their own means. */
function directoryOf(t: Test): string {
  const made = mkdtempSync(join(tmpdir(), 'qemu-'))
  t.teardown(() => rmSync(made, { recursive: true, force: true }))
  return made
}

/** A program in QEMU's place, in its directory. `onClient` is what it does with whoever connects. */
async function started(t: Test, onClient: string, before = '') {
  const directory = directoryOf(t)
  const script = join(directory, 'qemu.mjs')
  const listen = `createServer(client => { ${onClient} }).listen('${files.control}')`
  writeFileSync(script, `import { createServer } from 'node:net'\n${before}\n${listen}\n`)
  const signal = new AbortController().signal
  const request = { binary: process.execPath, directory, args: [script], timeoutMs: 30_000, signal }
  const opened = startVm({ ...request, started: async () => {} }, systemClock)
  const mine = () => findVmm(directory, null)
  t.teardown(() => killVmm(directory, null, systemClock))
  return { opened, mine }
}

t.test('it may take a while until it listens', async t => {
  const answer = `client.on('data', line => client.write(JSON.stringify({ return: {}, id: JSON.parse(line).id }) + '\\n'))`
  const hello = `client.write(${JSON.stringify(greeting)}); ${answer}`
  const slow = `await new Promise(resolve => setTimeout(resolve, 50))`
  const { opened, mine } = await started(t, hello, slow)
  const qmp = await opened
  qmp.close()
  t.ok(await mine())
})

t.test('what greets as QEMU does not is ended at once, not asked until the deadline', async t => {
  const { opened, mine } = await started(t, `client.write('SSH-2.0\\n')`)
  await t.rejects(opened, { code: 'hypervisor_unreachable', silence: 'cannot_tell', message: /not JSON/ })
  t.equal(await mine(), null)
})

t.test('cut off because it ends: its own words are the news', async t => {
  const { opened, mine } = await started(
    t,
    `client.destroy(); console.error('no such disk'); process.exit(1)`,
  )
  await t.rejects(opened, { code: 'hypervisor_failed', message: /status 1.*no such disk/ })
  t.equal(await mine(), null)
})

/** Time that passes only when it is waited for. */
function waitedFor(): Clock & { readonly waitedMs: () => number } {
  let waitedMs = 0
  const sleep = async (ms: number) => {
    waitedMs += ms
    await systemClock.sleep(1)
  }
  return { ...systemClock, monotonic: () => waitedMs, sleep, waitedMs: () => waitedMs }
}

const graceMs = 2_000

t.test('nobody listens: it is ended at once, for nobody was asked to', async t => {
  const directory = directoryOf(t)
  const { key, ended } = await spawnVmm({ directory, command: ['sleep', '600'], log: files.stderr })
  const clock = waitedFor()
  await endVm(directory, key, graceMs, clock)
  t.ok(clock.waitedMs() < graceMs)
  t.equal(await findVmm(directory, key), null)
  t.notOk(ended() === 'status 0')
})

t.test('one that was asked, and was cut off before it said so, is given its time', async t => {
  const asked: string[] = []
  const path = await fakeMonitor(
    t,
    (command, socket) => {
      asked.push(command.execute)
      if (command.execute === 'quit') socket.destroy()
      else socket.write(answered(command, { name: directory.split('/').at(-1) }))
    },
    greeting,
    files.watch,
  )
  const directory = join(path, '..')
  const { key } = await spawnVmm({ directory, command: ['sleep', '600'], log: files.stderr })
  const clock = waitedFor()
  await endVm(directory, key, graceMs, clock)
  t.same(asked, ['query-name', 'quit'])
  t.ok(clock.waitedMs() >= graceMs, 'it may have heard it')
  t.equal(await findVmm(directory, key), null, 'and then it is killed')
})

t.test('a socket in its place that is another’s is no reason to wait for ever', async t => {
  const directory = directoryOf(t)
  const foreign = createServer(socket => socket.end(greeting)).listen(join(directory, files.watch))
  t.teardown(() => foreign.close())
  const { key } = await spawnVmm({ directory, command: ['sleep', '600'], log: files.stderr })
  await endVm(directory, key, 100, systemClock)
  t.equal(await findVmm(directory, key), null)
})
