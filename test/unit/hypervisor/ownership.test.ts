import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Ownership } from '../../../lib/hypervisor/ownership.ts'
import { fullDisk } from '../../support/full-disk.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const owner = { installation: 'i', cluster: 'c', operation: 'o' }

t.test('claim, read, update, list, remove', async t => {
  const { ownership, directory, clock } = make(t)
  t.same(await ownership.list('instances'), [], 'a directory that was never made holds nothing')
  const path = await ownership.claim('instances', 'a-1', owner, { pid: null, port: 1 })
  t.equal(path, join(directory, 'instances', 'a-1'))
  const record = { name: 'a-1', owner, createdAtMs: clock.now(), fields: { pid: null, port: 1 } }
  t.same(await ownership.read('instances', 'a-1'), { name: 'a-1', path, record })
  t.equal(statSync(path).mode & 0o777, 0o700)
  t.equal(statSync(join(path, 'owner.json')).mode & 0o777, 0o600)

  await clock.advance(5)
  t.same(await ownership.update('instances', 'a-1', { pid: 7 }), { ...record, fields: { pid: 7, port: 1 } })
  await Promise.all(['b', 'c', 'd'].map(key => ownership.update('instances', 'a-1', { [key]: key })))
  const fields = { pid: 7, port: 1, b: 'b', c: 'c', d: 'd' }
  t.same(
    await ownership.list('instances'),
    [{ name: 'a-1', path, record: { ...record, fields } }],
    'no update is lost',
  )
  t.equal(await ownership.kindOf('a-1'), 'instances')
  t.equal(await ownership.kindOf('a-2'), null)
  await ownership.remove('instances', 'a-1')
  await ownership.remove('instances', 'a-1')
  t.equal(await ownership.read('instances', 'a-1'), null)
  t.same(readdirSync(join(directory, 'instances')), [])
  await t.rejects(ownership.update('instances', 'a-1', {}), { code: 'unknown_instance' })
})

t.test('a name has one owner, of one kind', async t => {
  const { ownership } = make(t)
  await ownership.claim('instances', 'a', owner, {})
  await t.rejects(ownership.claim('instances', 'a', owner, {}), {
    code: 'hypervisor_failed',
    message: /taken/,
  })
  await t.rejects(ownership.claim('snapshots', 'a', owner, {}), {
    code: 'hypervisor_failed',
    message: /taken/,
  })
  const claims = await Promise.allSettled([1, 2, 3].map(n => ownership.claim('instances', 'b', owner, { n })))
  t.equal(claims.filter(claim => claim.status === 'fulfilled').length, 1, 'three at once: one has it')
})

t.test('no name leads out of the directory', async t => {
  const { ownership } = make(t)
  for (const name of ['..', '.', '', 'a/b', 'a\0', '.new-a-00000000', 'A', 'ü', 'x'.repeat(64)]) {
    t.throws(() => ownership.path('instances', name), { code: 'invalid_request' }, JSON.stringify(name))
    await t.rejects(ownership.claim('instances', name, owner, {}), { code: 'invalid_request' })
    await t.rejects(ownership.remove('instances', name), { code: 'invalid_request' })
  }
})

t.test('what a crash left of a claim or a removal is swept, a claim that is under way is not', async t => {
  const { ownership, directory, clock } = make(t, Date.now())
  for (const name of ['.new-a-00000000', '.gone-b-00000000']) {
    mkdirSync(join(directory, 'snapshots', name), { recursive: true })
    writeFileSync(join(directory, 'snapshots', name, 'memory'), 'x')
  }
  t.same(await ownership.list('snapshots'), [])
  t.same(readdirSync(join(directory, 'snapshots')), ['.new-a-00000000'])
  await clock.advance(11 * 60_000)
  t.same(await ownership.list('snapshots'), [])
  t.same(readdirSync(join(directory, 'snapshots')), [])
})

t.test('a record that cannot be read is reported with the reason', async t => {
  const { ownership, directory } = make(t)
  const records: Record<string, readonly [string | null, RegExp]> = {
    none: [null, /ENOENT/],
    empty: ['', /not an owner record/],
    torn: ['{"version":1', /not an owner record/],
    foreign: [JSON.stringify({ hello: 'world' }), /not an owner record/],
    other: [JSON.stringify({ version: 1, name: 'x', owner, created_at_ms: 1, fields: {} }), /record of "x"/],
    huge: [' '.repeat(2 ** 20 + 1), /bytes/],
  }
  for (const [name, [text]] of Object.entries(records)) {
    mkdirSync(join(directory, 'instances', name), { recursive: true })
    if (text !== null) writeFileSync(join(directory, 'instances', name, 'owner.json'), text)
  }
  writeFileSync(join(directory, 'instances', 'file'), '')
  for (const found of await ownership.list('instances')) {
    const expected = records[found.name]?.[1] ?? /not a directory/
    t.match(found, { record: null, problem: expected }, found.name)
  }
  t.equal((await ownership.list('instances')).length, Object.keys(records).length + 1)
})

t.test('a directory that cannot be read is not an empty one', async t => {
  const { ownership, directory } = make(t)
  writeFileSync(join(directory, 'instances'), '')
  await t.rejects(ownership.list('instances'), { code: 'hypervisor_unreachable' })
  await t.rejects(ownership.read('instances', 'a'), { code: 'hypervisor_unreachable' })
  await t.rejects(ownership.claim('instances', 'a', owner, {}), { code: 'hypervisor_unreachable' })
})

t.test('a full disk is said to be one, and the record stays as it was', async t => {
  const { ownership, directory } = make(t)
  await fullDisk(t, join(directory, 'instances'), async () => {
    const path = await ownership.claim('instances', 'a', owner, {})
    const before = readFileSync(join(path, 'owner.json'), 'utf8')
    const long = 'x'.repeat(256 * 1024)
    await t.rejects(ownership.update('instances', 'a', { long }), { code: 'disk_full' })
    await t.rejects(ownership.claim('instances', 'b', owner, { long }), { code: 'disk_full' })
    t.equal(readFileSync(join(path, 'owner.json'), 'utf8'), before)
    t.same(readdirSync(join(directory, 'instances')), ['a'], 'nothing is left of what failed')
    t.same(readdirSync(path), ['owner.json'])
  })
})

function make(t: Test, startMs?: number) {
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-ownership-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const clock = new ManualClock(startMs)
  return { ownership: new Ownership(directory, clock), directory, clock }
}
