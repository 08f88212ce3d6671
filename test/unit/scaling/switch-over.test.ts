/**
 * The switch from the old instances to the new ones, looked at whenever a table is published and whenever control writes a word to the
 * board: there is no moment at which both take new clients, and none at which nobody does.
 */
import t from 'tap'
import { Board } from '../../../lib/cluster/board.ts'
import type { OperationRequest } from '../../../lib/scaling/operation.ts'
import { check } from '../../support/scaling-check.ts'
import { Lab } from '../../support/scaling-lab.ts'

let look = () => {}
for (const name of ['admitAtTurn', 'turn'] as const) {
  const own = Board.prototype[name] as (...args: unknown[]) => void
  Board.prototype[name] = function (this: Board, ...args: unknown[]) {
    own.apply(this, args)
    look()
  }
}
t.afterEach(() => {
  look = () => {}
})

/** Three that serve, and who is open to new clients from now on: `old`, `new`, or what must never be. */
async function three() {
  const lab = new Lab({ nodes: [{ id: 'n1', cpus: 8 }] })
  await lab.boot()
  await lab.scaleTo(3)
  const ids = lab.backends().map(({ id }) => id)
  const seen: string[] = []
  const open = () => {
    const members = lab.clusters.table().clusters[0]!.members
    const takes = members.filter(({ slot, epoch }) =>
      ['any', 'spare'].includes(lab.board.eligibility(slot, epoch)),
    )
    const olds = takes.filter(({ id }) => ids.includes(id)).length
    if (members.length === 0) return null
    if (olds > 0 && takes.length > olds) return 'both'
    return olds > 0 ? 'old' : takes.length > 0 ? 'new' : 'nobody'
  }
  const tell = () => {
    const now = open()
    if (now !== null && seen.at(-1) !== now) seen.push(now)
  }
  const watch = () => {
    look = tell
    lab.watch.onTable = tell
  }
  watch()
  const all: OperationRequest = { type: 'replace', instance_id: ids[0]!, instance_ids: ids, fresh: true }
  return { lab, ids, all, seen, watch }
}

/** As soon as the new ones are members. */
function whenRegistered(lab: Lab, act: () => void): void {
  lab.events.subscribe(({ event }) => {
    if (event.type === 'operation_step' && event.step === 'register' && event.status === 'done') act()
  })
}

t.test('the old ones close in the instant in which the new ones open', async t => {
  const { lab, all, seen } = await three()
  const operation = await lab.operate(all)
  t.match(operation, { status: 'completed', error: null })
  t.strictSame(seen, ['old', 'new'])
  look = () => {}
  await check(t, lab)
  await lab.close()
})

t.test('when the new ones turn out ill they close in the instant in which the old ones open', async t => {
  const { lab, ids, all, seen } = await three()
  whenRegistered(lab, () => {
    for (const one of lab.nodes[0]!.instances.values()) if (!ids.includes(one.name)) one.healthy = false
  })
  const operation = await lab.operate(all)
  t.match(operation, { status: 'failed', phase: 'rolled_back', error: { code: 'instance_unhealthy' } })
  t.strictSame(seen, ['old', 'new', 'old'])
  look = () => {}
  await check(t, lab)
  await lab.close()
})

t.test('a table that no thread takes changes nothing; the next step switches', async t => {
  const { lab, all, seen } = await three()
  let refused = 0
  whenRegistered(lab, () => {
    lab.faults.publish = () => refused++ === 0
  })
  const operation = await lab.operate(all)
  t.match(operation, { status: 'completed', error: null })
  t.ok(refused > 1)
  t.strictSame(seen, ['old', 'new'])
  look = () => {}
  await check(t, lab)
  await lab.close()
})

t.test('of one that is replaced among others only the new one and the old one change places', async t => {
  const { lab, ids } = await three()
  const states: string[] = []
  look = () => {
    const members = lab.clusters.table().clusters[0]!.members
    const word = members
      .map(({ id, slot, epoch }) => {
        const colour = id === ids[0] ? 'old' : ids.includes(id) ? 'other' : 'new'
        return `${colour} ${lab.board.eligibility(slot, epoch)}`
      })
      .toSorted()
      .join(' · ')
    if (states.at(-1) !== word) states.push(word)
  }
  lab.watch.onTable = () => look()
  const operation = await lab.operate({ type: 'replace', instance_id: ids[0]!, fresh: true })
  t.match(operation, { status: 'completed' })
  t.strictSame(states, [
    'old any · other any · other any',
    'new none · old any · other any · other any',
    'new any · old bound · other any · other any',
    'new any · old none · other any · other any',
    'new any · other any · other any',
  ])
  look = () => {}
  await check(t, lab)
  await lab.close()
})

t.test('whenever the controller ends, the next one begins with the doors of one colour open', async t => {
  let crashes = 0
  const odd: string[] = []
  for (let write = 1; ; write++) {
    const { lab, all, seen, watch } = await three()
    const before = lab.writes
    lab.faults.store = (moment, at) => (moment === 'after' && at === before + write ? 'crash' : null)
    const survived = await lab.survive(async () => {
      const { id } = await lab.scaling.start('web', all, 'test')
      await lab.scaling.wait(id, 3_600_000)
    })
    if (survived) {
      await lab.close()
      break
    }
    crashes++
    lab.faults = {}
    watch()
    await lab.boot()
    if (seen.includes('both') || seen.includes('nobody')) odd.push(`write ${write}: ${seen.join(' ► ')}`)
    look = () => {}
    const states = lab.backends().map(({ state }) => state)
    if (states.join() !== 'ready,ready,ready') odd.push(`write ${write}: ${states}`)
    await lab.close()
  }
  t.strictSame(odd, [])
  t.ok(crashes > 20, `${crashes}`)
})
