/** The keeper looks at its files now and then; what is wrong with them never becomes anybody's trouble. */
import { rmSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { Events, type TidegateEvent } from '../../../../lib/events.ts'
import { silentLog } from '../../../../lib/log.ts'
import { certificatePollMs, TlsKeeper } from '../../../../lib/proxy/tls/keeper.ts'
import type { TlsMaterial } from '../../../../lib/proxy/tls/material.ts'
import { Authority, listenerTls, text, upstreamTls } from '../../../support/certificates.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

const ca = new Authority(t.testdir())

async function keep(t: Test) {
  const pair = ca.issue('server')
  const clock = new ManualClock()
  const events = new Events(() => clock.now())
  const told: TidegateEvent[] = []
  events.subscribe(({ event }) => told.push(event))
  const listeners = [{ host: '', port: 0, tls: listenerTls([pair]) }]
  const clusters = [{ id: 'web', tls: upstreamTls({ ca: ca.cert }) }] as never
  const keeper = await TlsKeeper.open({ listeners, clusters }, { clock, log: silentLog, events })
  t.teardown(() => keeper.close())
  const materials: TlsMaterial[] = []
  keeper.onChange(material => materials.push(material))
  /** A poll, and whatever it reads. */
  const poll = async () => {
    await clock.advance(certificatePollMs)
    await keeper.look()
  }
  const served = () => Object.values(keeper.material().uses).map(use => use.certificates[0]?.cert)
  return { keeper, pair, told, materials, poll, served }
}

t.test('files that did not change, or only in their date, tell nobody', async t => {
  const { pair, told, materials, poll } = await keep(t)
  await poll()
  writeFileSync(pair.cert, text(pair.cert))
  await poll()
  t.same(told, [])
  t.same(materials, [])
})

t.test('a renewal is told once, with both of its files', async t => {
  const { pair, told, materials, poll, served } = await keep(t)
  ca.issue('server')
  await poll()
  t.match(told, [{ type: 'tls', use: 'listeners[0].tls', status: 'renewed', detail: null }])
  t.equal(materials.length, 1)
  t.ok(served().includes(text(pair.cert)))
  await poll()
  t.equal(told.length, 1)
})

t.test('a look between the two files of a renewal keeps the former pair and says nothing', async t => {
  const { keeper, pair, told, poll, served } = await keep(t)
  const before = keeper.material()
  const [cert, key] = [text(pair.cert), text(pair.key)]
  ca.issue('server')
  const renewed = text(pair.key)
  writeFileSync(pair.key, key)
  await poll()
  t.same(told, [])
  t.equal(keeper.material(), before)
  writeFileSync(pair.key, renewed)
  await poll()
  t.match(told, [{ status: 'renewed' }])
  t.notOk(served().includes(cert))
})

t.test('files that stay wrong are told once; the former stay in use, until they are mended', async t => {
  const { keeper, pair, told, poll } = await keep(t)
  const before = keeper.material()
  rmSync(pair.cert)
  for (let i = 0; i < 4; i++) await poll()
  t.match(told, [{ status: 'refused', detail: /there is no file .*server\.crt/ }])
  writeFileSync(pair.cert, 'nonsense')
  for (let i = 0; i < 4; i++) await poll()
  t.match(told.slice(1), [{ status: 'refused', detail: /there is no certificate in it/ }])
  t.equal(keeper.material(), before)
  ca.issue('server')
  await poll()
  t.match(told.slice(2), [{ status: 'renewed' }])
})

t.test('ticket keys are 48 fresh bytes, the same for all until they are rotated', async t => {
  const { keeper, materials } = await keep(t)
  const first = keeper.material().ticketKeys
  t.equal(first.length, 48)
  keeper.rotateTicketKeys()
  t.equal(materials.length, 1)
  t.notSame(keeper.material().ticketKeys, first)
  t.same(keeper.material().uses, materials[0]!.uses)
})

t.test('a changed configuration: both are at hand until it is decided', async t => {
  const { keeper, pair } = await keep(t)
  const other = ca.issue('other')
  const listeners = [{ host: '', port: 0, tls: listenerTls([other]) }]
  const before = Object.keys(keeper.material().uses)
  const prepared = await keeper.prepare({ listeners, clusters: [] })
  t.equal(Object.keys(keeper.material().uses).length, 3)
  await prepared.undo()
  t.same(Object.keys(keeper.material().uses), before)
  await (await keeper.prepare({ listeners, clusters: [] })).commit()
  t.same(keeper.certificates(), [
    { ...keeper.certificates()[0]!, use: 'listeners[0].tls', names: ['localhost'] },
  ])
  t.notOk(JSON.stringify(keeper.material()).includes(pair.cert))
  const wrong = [{ host: '', port: 0, tls: listenerTls([{ cert: other.cert, key: pair.key }]) }]
  const held = keeper.material()
  await t.rejects(keeper.prepare({ listeners: wrong, clusters: [] }), {
    code: 'invalid_config',
    message: /server\.key/,
  })
  t.equal(keeper.material(), held)
})
