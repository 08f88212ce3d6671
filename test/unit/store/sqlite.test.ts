/** What only the store on disk has to keep: crashes, one process at a time, file modes, a full disk, versions. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { openStore } from '../../../lib/store/open.ts'
import { openSqliteStore, waitingMax } from '../../../lib/store/sqlite.ts'
import { openSqliteFile } from '../../../lib/store/sqlite-file.ts'
import { entry, operation } from '../../contract/store/contract.ts'

const writer = fileURLToPath(new URL('../../support/store-writer.ts', import.meta.url))

/** Starts a writer and resolves when it has said at least `lines` numbers. */
async function write(path: string, lines: number): Promise<{ child: ChildProcess; said: () => number }> {
  const child = spawn(process.execPath, [writer, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout!.setEncoding('utf8')
  while (text.split('\n').length - 1 < lines) {
    const [chunk] = (await once(child.stdout!, 'data')) as [string]
    text += chunk
  }
  child.stdout!.on('data', chunk => {
    text += chunk
  })
  return { child, said: () => Number(text.split('\n').at(-2)) }
}

t.test(
  'killed at any moment, a batch is there wholly or not at all, and what was confirmed is there',
  async t => {
    const path = join(t.testdir({}), 'tidegate.db')
    for (const lines of [1, 7, 23, 40]) {
      const { child, said } = await write(path, lines)
      child.kill('SIGKILL')
      await once(child, 'close')
      const store = await openSqliteStore(path)
      const n = (await store.journal('op1')).length
      t.ok(n >= said(), `${n} entries, ${said()} confirmed`)
      t.equal(await store.value('first'), n)
      t.equal(await store.value('last'), n)
      t.match(await store.history('web', 1), [{ reason: `${n}` }])
      await store.close()
    }
  },
)

t.test('a second process is refused while the first lives, however the first ends', async t => {
  const path = join(t.testdir({}), 'tidegate.db')
  const { child } = await write(path, 1)
  t.teardown(() => child.kill('SIGKILL'))
  await t.rejects(openSqliteStore(path), { code: 'already_running', message: /stop it/ })
  child.kill('SIGKILL')
  await once(child, 'close')
  const store = await openSqliteStore(path)
  await t.rejects(openSqliteStore(path), { code: 'already_running' }, 'nor twice within one')
  t.ok((await store.journal('op1')).length > 0, 'the refused one did no harm')
  await store.close()
})

t.test('its files are for nobody else, whatever the umask', async t => {
  const before = process.umask(0)
  t.teardown(() => process.umask(before))
  const directory = join(t.testdir({}), 'state')
  const path = join(directory, 'tidegate.db')
  const store = await openSqliteStore(path)
  await store.write([{ put: 'value', key: 'secret', value: 'x' }])
  t.equal(statSync(directory).mode & 0o777, 0o700)
  for (const suffix of ['', '-wal', '-shm', '-lock'])
    t.equal(statSync(path + suffix).mode & 0o777, 0o600, `tidegate.db${suffix}`)
  await store.close()
  chmodSync(path, 0o644)
  const again = await openSqliteStore(path)
  t.equal(statSync(path).mode & 0o777, 0o600, 'made private again')
  await again.close()
})

t.test('a full store says so, keeps what it has and takes smaller things again', async t => {
  const path = join(t.testdir({}), 'tidegate.db')
  const store = await openSqliteStore(path, { sizeMaxBytes: 256 * 1024 })
  t.teardown(() => store.close())
  await store.write([{ put: 'value', key: 'kept', value: 1 }])
  await t.rejects(store.write([{ put: 'value', key: 'huge', value: 'x'.repeat(1024 * 1024) }]), {
    code: 'store_unavailable',
    message: /full/,
  })
  t.equal(await store.value('kept'), 1)
  t.equal(await store.value('huge'), null)
  await store.write([{ put: 'value', key: 'small', value: 2 }])
  t.equal(await store.value('small'), 2)
})

t.test('it stays over a restart', async t => {
  const config = { kind: 'sqlite', path: join(t.testdir({}), 'deep', 'er', 'tidegate.db') } as const
  const store = await openStore(config)
  await store.write([{ put: 'value', key: 'installation', value: 'abc' }])
  await store.close()
  const again = await openStore(config)
  t.equal(await again.value('installation'), 'abc')
  await again.close()
  t.equal(await (await openStore({ kind: 'memory' })).value('installation'), null)
})

t.test('calls that wait for the disk are bounded: one more is refused, and the rest goes on', async t => {
  const store = await openSqliteStore(join(t.testdir({}), 'tidegate.db'))
  const calls = Array.from({ length: waitingMax }, () => store.value('none'))
  await t.rejects(store.write([]), {
    code: 'store_unavailable',
    message: new RegExp(`${waitingMax} calls wait for its disk`),
  })
  t.strictSame(new Set(await Promise.all(calls)), new Set([null]))
  await store.write([{ put: 'value', key: 'one', value: 1 }])
  t.equal(await store.value('one'), 1, 'and there is room again')
  await store.close()
})

t.test('a file of a newer version, or of something else, is left alone with a reason', async t => {
  const directory = t.testdir({
    'other.db': 'this is no database, but it is long enough to look like one '.repeat(20),
  })
  const newer = join(directory, 'newer.db')
  await (await openSqliteStore(newer)).close()
  const db = new DatabaseSync(newer)
  db.exec('PRAGMA user_version = 99')
  db.close()
  await t.rejects(openSqliteStore(newer), { code: 'store_unavailable', message: /newer Tidegate.*99/ })
  await t.rejects(openSqliteStore(newer), { message: /newer Tidegate/ }, 'and its lock was given back')
  await t.rejects(openSqliteStore(join(directory, 'other.db')), {
    code: 'store_unavailable',
    message: /not a database/,
  })
  await t.rejects(openSqliteStore(join(directory, 'other.db', 'tidegate.db')), { code: 'store_unavailable' })
})

t.test('what is not as it was written is told, and never passed off as sound', async t => {
  const path = join(t.testdir({}), 'tidegate.db')
  const store = await openSqliteStore(path)
  const address = { host: '127.0.0.1', port: 80 }
  await store.write([
    { put: 'operation', record: operation() },
    { put: 'journal', record: entry(1) },
    { put: 'journal', record: entry(2) },
    { put: 'operation', record: operation({ id: 'op2', endedAtMs: 2, outcome: 'completed' }) },
    { put: 'backend', record: { cluster: 'web', id: 's', address, weight: 1, incarnation: 'x' } },
    { put: 'mark', record: { cluster: 'web', backend: 's', mark: 'maint' } },
    { put: 'value', key: 'policy:web', value: { min: 1 } },
    { put: 'value', key: 'other', value: 1 },
  ])
  t.strictSame(await store.flaws(), [])
  await store.close()
  const db = new DatabaseSync(path, { enableForeignKeyConstraints: false })
  db.exec(`UPDATE journal SET data = '{"names": [' WHERE seq = 2; UPDATE backend SET port = 81;
    UPDATE operation SET ended_at_ms = NULL WHERE id = 'op2'; UPDATE value SET value = '2' WHERE key = 'policy:web';
    UPDATE mark SET drain = '{}'; INSERT INTO journal SELECT 'op9', seq, step, kind, data, at_ms, format, checksum FROM journal`)
  db.close()
  const again = await openSqliteStore(path)
  t.teardown(() => again.close())
  t.match(await again.flaws(), [
    { of: 'operation', id: 'op2', why: /checksum/ },
    { of: 'journal', id: 'op9', why: /operation is missing/ },
    { of: 'backend', id: 'web/s' },
    { of: 'mark', id: 'web/s' },
    { of: 'value', id: 'policy:web' },
  ])
  const [first, second] = await again.journal('op1')
  t.strictSame(first, entry(1))
  t.match(second, { seq: 2, data: null, flaw: /checksum/ })
  t.match(await again.operation('op2'), { flaw: /checksum/ })
  t.equal(await again.value('policy:web'), null)
  t.equal(await again.value('other'), 1)
  const { backends, marks } = await again.membership()
  t.strictSame(backends, [])
  t.strictSame(marks, [{ cluster: 'web', backend: 's', mark: 'maint' }], 'who was taken out stays out')
  await again.write([
    { put: 'value', key: 'policy:web', value: null },
    { put: 'operation', record: operation({ id: 'op2', endedAtMs: 2, outcome: 'failed' }) },
  ])
  t.notMatch(await again.flaws(), [{ id: 'op2' }], 'what is written anew is sound')
  t.equal((await again.flaws()).length, 3)
})

t.test('what another program does to a store that is open is told too', async t => {
  const path = join(t.testdir({}), 'tidegate.db')
  const store = await openSqliteStore(path)
  t.teardown(() => store.close())
  const address = { host: '127.0.0.1', port: 80 }
  const backend = { cluster: 'web', id: 's', address, weight: 1, incarnation: 'x' }
  await store.write([{ put: 'backend', record: backend }])
  t.strictSame(await store.flaws(), [])
  const db = new DatabaseSync(path)
  db.exec('UPDATE backend SET port = 81')
  db.close()
  t.strictSame((await store.membership()).backends, [])
  t.match(await store.flaws(), [{ of: 'backend', id: 'web/s', why: /checksum/ }])
  await store.write([{ put: 'backend', record: backend }])
  t.strictSame(await store.flaws(), [])
  t.strictSame((await store.membership()).backends, [backend])
})

t.test('much that is in the log only is taken over when there is time, and nothing of it is lost', t => {
  const path = join(t.testdir({}), 'tidegate.db')
  const store = openSqliteFile(path)
  for (let n = 0; n < 120; n++) store.write([{ put: 'value', key: `key-${n}`, value: 'x'.repeat(2_000) }])
  const before = statSync(path).size
  store.tidy()
  t.ok(statSync(path).size > before + 120 * 2_000)
  t.equal(store.value('key-119'), 'x'.repeat(2_000))
  store.close()
  store.tidy()
  t.end()
})

t.test('entries that are lost are missed', async t => {
  const path = join(t.testdir({}), 'tidegate.db')
  const store = await openSqliteStore(path)
  await store.write([{ put: 'operation', record: operation() }])
  for (const seq of [1, 2, 3]) await store.write([{ put: 'journal', record: entry(seq) }])
  await store.close()
  const db = new DatabaseSync(path)
  db.exec('DELETE FROM journal WHERE seq = 3')
  db.close()
  const again = await openSqliteStore(path)
  t.teardown(() => again.close())
  t.match(await again.operations({ unfinished: true }), [
    { id: 'op1', flaw: /2 entries, and 3 were written/ },
  ])
})
