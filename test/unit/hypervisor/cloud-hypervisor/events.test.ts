import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import {
  lastKnownState,
  parseEvents,
  readEvents,
} from '../../../../lib/hypervisor/cloud-hypervisor/events.ts'

const event = (name: string, secs: number, properties: unknown = null) =>
  `${JSON.stringify({ timestamp: { secs, nanos: 500_000_000 }, source: 'vm', event: name, properties }, null, 2)}\n\n`

t.test('objects one after the other, over several lines', async t => {
  const text = event('booting', 1) + event('booted', 2, { 'a{': 'b}"\\' })
  t.same(parseEvents(text), [
    { source: 'vm', event: 'booting', atMs: 1_500 },
    { source: 'vm', event: 'booted', atMs: 2_500 },
  ])
})

t.test('what is cut off at either end, or is nonsense, is left out', async t => {
  const whole = event('paused', 3)
  t.same(
    parseEvents(event('booted', 1).slice(40) + whole + event('resumed', 4).slice(0, 30)).map(e => e.event),
    ['paused'],
  )
  t.same(parseEvents('{} {"event": 1} }}} "x" nonsense'), [])
  t.same(await readEvents('/nowhere/events.json'), [], 'no file')
})

t.test('only the end of a long file is read', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'events-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const path = join(directory, 'events.json')
  writeFileSync(path, event('resized', 1).repeat(4_000) + event('paused', 9))
  const events = await readEvents(path)
  t.ok(events.length > 100 && events.length < 4_000)
  t.equal(events.at(-1)?.event, 'paused')
})

t.test('what the VM last said of itself', async t => {
  const after = (...names: string[]) =>
    lastKnownState(parseEvents(names.map(name => event(name, 1)).join('')))
  t.equal(after(), null)
  t.equal(after('booting'), null)
  t.equal(after('booted', 'pausing'), 'running', 'an intention is no state')
  t.equal(after('booted', 'paused', 'snapshotting', 'snapshotted'), 'paused')
  t.equal(after('restoring', 'restored'), 'paused')
  t.equal(after('paused', 'resumed', 'resized'), 'running')
})
