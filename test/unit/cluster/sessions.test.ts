import t from 'tap'
import { SessionLedger } from '../../../lib/cluster/sessions.ts'

const at = (slot: number, session: string, expiresAtMs: number) => ({ slot, epoch: 1, session, expiresAtMs })

t.test('counts sessions, not sightings, until their life ends', async t => {
  const ledger = new SessionLedger()
  ledger.open(0, 1)
  ledger.note(at(0, 'a', 100), 0)
  ledger.note(at(0, 'a', 150), 0)
  ledger.note(at(0, 'b', 120), 0)
  t.equal(ledger.count(0, 1, 99), 2)
  t.equal(ledger.count(0, 1, 120), 1, 'b ended')
  t.equal(ledger.count(0, 1, 149), 1)
  t.equal(ledger.count(0, 1, 150), 0)
})

t.test('an older sighting that comes late shortens nothing', async t => {
  const ledger = new SessionLedger()
  ledger.open(0, 1)
  ledger.note(at(0, 'a', 200), 0)
  ledger.note(at(0, 'a', 100), 0)
  t.equal(ledger.count(0, 1, 150), 1)
})

t.test('a session is where it was seen last', async t => {
  const ledger = new SessionLedger()
  ledger.open(0, 1)
  ledger.open(1, 1)
  ledger.note(at(0, 'a', 100), 0)
  ledger.note(at(1, 'a', 100), 0)
  t.equal(ledger.count(0, 1, 0), 0)
  t.equal(ledger.count(1, 1, 0), 1)
})

t.test('sightings of a former tenant, of nobody, or past their end are dropped', async t => {
  const ledger = new SessionLedger()
  ledger.open(0, 2)
  ledger.note(at(0, 'a', 100), 0)
  ledger.note(at(9, 'a', 100), 0)
  ledger.note({ ...at(0, 'b', 100), epoch: 2 }, 100)
  t.equal(ledger.count(0, 2, 0), 0)
  t.equal(ledger.count(0, 1, 0), 0)
  ledger.note({ ...at(0, 'c', 100), epoch: 2 }, 0)
  ledger.close(0, 2)
  t.equal(ledger.count(0, 2, 0), 0)
})

t.test('is bounded: full it shows the bound, and makes room of what ended', async t => {
  const ledger = new SessionLedger(3)
  ledger.open(0, 1)
  for (const session of ['a', 'b', 'c', 'd']) ledger.note(at(0, session, session === 'a' ? 50 : 100), 0)
  t.equal(ledger.count(0, 1, 0), 3)
  ledger.note(at(0, 'c', 170), 60)
  t.equal(ledger.count(0, 1, 60), 2, 'a ended')
  ledger.note(at(0, 'e', 170), 60)
  ledger.note(at(0, 'f', 170), 60)
  t.equal(ledger.count(0, 1, 60), 3)
  t.equal(ledger.count(0, 1, 120), 2, 'c was renewed, e came, f had no room')
})
