/** What only the store on disk has to keep: crashes, one process at a time, file modes, a full disk, versions. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { openStore } from '../../../lib/store/open.ts'
import { openSqliteStore } from '../../../lib/store/sqlite.ts'

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
