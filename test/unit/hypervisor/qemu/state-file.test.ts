/** A state on its way into a file, from whoever connects in QEMU's stead. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../../../lib/clock.ts'
import { receiveState } from '../../../../lib/hypervisor/qemu/state-file.ts'

function place(t: Test): string {
  const root = mkdtempSync(join(tmpdir(), 'tidegate-'))
  t.teardown(() => rmSync(root, { recursive: true, force: true }))
  // Longer than a socket's path may be.
  const directory = join(root, 'x'.repeat(120))
  mkdirSync(directory)
  return directory
}

/** By the short name of its working directory, as QEMU does. */
function send(directory: string, uri: string, bytes: Buffer): void {
  const before = process.cwd()
  process.chdir(directory)
  const socket = connect(uri.replace('unix:', ''))
  process.chdir(before)
  socket.on('error', () => {})
  socket.end(bytes)
}

t.test('what is sent is in the file, whole, and nothing else is left', async t => {
  const directory = place(t)
  const file = await receiveState(directory, systemClock)
  const bytes = Buffer.alloc(3_000_000, 'state')
  send(directory, file.uri, bytes)
  await file.written({ timeoutMs: 20_000 })
  await file.close()
  t.ok(readFileSync(join(directory, 'state')).equals(bytes))
  t.equal(statSync(join(directory, 'state')).mode & 0o777, 0o600)
  t.notOk(existsSync(join(directory, 'state.part')) || existsSync(join(directory, 'state.sock')))
})

t.test('when nobody comes it ends by its deadline and leaves nothing', async t => {
  const directory = place(t)
  const file = await receiveState(directory, systemClock)
  await t.rejects(file.written({ timeoutMs: 10 }), { code: 'step_timeout' })
  t.equal(await file.failure(), null)
  await file.close()
  t.strictSame(existsSync(join(directory, 'state')), false)
  t.notOk(existsSync(join(directory, 'state.part')) || existsSync(join(directory, 'state.sock')))
})
