/**
 * Stores that were edited, torn or written by a newer version: the start succeeds, nothing that may be somebody's is destroyed, what
 * serves goes on serving, and every other operation is finished. `DAMAGE_SEED` replays one.
 */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { claimedNames } from '../../../../lib/scaling/facts.ts'
import type { OperationRequest } from '../../../../lib/scaling/operation.ts'
import type { PoolItem } from '../../../../lib/scaling/readiness/pool.ts'
import { recordFormat, sealed } from '../../../../lib/store/seal.ts'
import { Chance } from '../../../simulation/faults/chance.ts'
import { Lab } from '../../../support/scaling-lab.ts'
import { atOnce } from '../../../support/store-at-once.ts'

/** Each kind of damage at least twice, and of each kind of operation several. */
const seeds = 30
const roundsMax = 5
const roundMs = 30_000

type Cells = Record<string, null | number | string>

/** Each does one thing to the operation, and says what. */
const harms: Readonly<Record<string, (db: DatabaseSync, id: string, chance: Chance) => string>> = {
  flip: (db, id, chance) => harmText(db, id, chance, flipped),
  truncate: (db, id, chance) =>
    harmText(db, id, chance, text => text.slice(0, Math.floor(text.length * chance.next()))),
  lost: (db, id, chance) => {
    const { seq } = chance.one(entries(db, id))!
    db.prepare('DELETE FROM journal WHERE operation = ? AND seq >= ?').run(id, seq!)
    return `entries from ${seq} on are lost`
  },
  gap: (db, id, chance) => {
    const { seq } = chance.one(entries(db, id))!
    db.prepare('DELETE FROM journal WHERE operation = ? AND seq = ?').run(id, seq!)
    return `entry ${seq} is lost`
  },
  renumbered: (db, id, chance) => {
    const { seq } = chance.one(entries(db, id))!
    db.prepare('UPDATE journal SET seq = seq + 40 WHERE operation = ? AND seq = ?').run(id, seq!)
    return `entry ${seq} is numbered anew`
  },
  ended: (db, id) => {
    db.prepare("UPDATE operation SET ended_at_ms = 1, outcome = 'failed' WHERE id = ?").run(id)
    return 'it is said to have ended'
  },
  'unknown type': (db, id) => {
    rewrite(db, 'operation', id, row => ({ ...row, type: 'teleport' }), recordFormat)
    return 'it is of a type that only a newer version knows'
  },
  'unknown kind': (db, id) => {
    rewrite(db, 'journal', id, row => ({ ...row, kind: 'levitated' }), recordFormat)
    return 'an entry is of a kind that only a newer version knows'
  },
  'newer entry': (db, id) => {
    rewrite(db, 'journal', id, row => row, recordFormat + 1)
    return 'an entry is of a newer format'
  },
  'newer record': (db, id) => {
    rewrite(db, 'operation', id, row => row, recordFormat + 1)
    return 'its record is of a newer format'
  },
  'out of order': (db, id) => {
    rewrite(db, 'journal', id, row => ({ ...row, step: 'finalize', kind: 'done' }), recordFormat)
    return 'an entry says what cannot have happened'
  },
}

/** Clones that are not made anew while this goes on. */
const wait = {
  ...{ idleAfterMs: Number.POSITIVE_INFINITY, maxWaiting: 10, waitTimeoutMs: 10_000 },
  afterFailure: true,
} as const
const standingBy = { scaleToZero: null, warmPool: null, clones: { count: 1, refresh: '0 0 1 1 *', wait } }

/** What is under way in `web` when it crashes. */
const acts: Readonly<Record<string, (lab: Lab, chance: Chance) => Promise<unknown>>> = {
  scale: (lab, chance) => lab.scaling.start('web', to(chance.happens(0.6) ? 4 : 1), 'test'),
  replace: lab => lab.scaling.start('web', { type: 'replace', instance_id: lab.backends()[0]!.id }, 'test'),
  resize: lab => {
    const instance_id = lab.backends()[0]!.id
    return lab.scaling.start('web', { type: 'resize', instance_id, resources: { cpus: 2 } }, 'test')
  },
  failover: async lab => {
    const dead = lab.backends()[0]!.id
    for (const node of lab.nodes) node.kill(dead)
    return lab.scaling.start('web', { type: 'failover', instance_id: dead, instance_ids: [dead] }, 'test')
  },
  rolling: lab => {
    const wish = { batch_size: 1, pause_seconds: 1, max_failure_ratio: 0.1 }
    return lab.scaling.replaceRolling('web', wish, 'test')
  },
}
/** Of all operations that they consist of. */
const types = ['scale_out', 'scale_in', 'replace', 'resize', 'failover', 'rolling_replace']

const to = (target: number): OperationRequest => ({
  ...{ type: target > 2 ? 'scale_out' : 'scale_in', target_count: target },
  ...{ immediate: false, drain_connections: true },
})

const only = process.env.DAMAGE_SEED
const chosen = only ? [Number(only)] : Array.from({ length: seeds }, (_, n) => n + 1)

t.test('journals that were damaged at random', async t => {
  const directory = t.testdir({})
  const seen = new Set<string>()
  const damaged = new Set<string>()
  let judged = 0
  for (const seed of chosen) {
    const what = await life(t, directory, seed)
    if (what === null) continue
    seen.add(what.harm)
    damaged.add(what.type)
    judged++
    if (!t.passing())
      return t.comment(`again: DAMAGE_SEED=${seed} node test/unit/scaling/recovery/damage.test.ts`)
  }
  if (!only) {
    t.ok(judged > seeds / 2, `${judged} of ${seeds} seeds had something to damage`)
    t.strictSame([...seen].sort(), Object.keys(harms).sort(), 'each kind of damage')
    t.strictSame([...damaged].sort(), [...types].sort(), 'each kind of operation')
  }
})

/** What was damaged; null: nothing was under way when it crashed. */
async function life(t: Test, directory: string, seed: number) {
  const chance = new Chance(seed)
  const path = join(directory, `${seed}.db`)
  const act = Object.keys(acts)[seed % Object.keys(acts).length]!
  const store = atOnce(path)
  const clones = act === 'failover' ? { cluster: { standby: standingBy } } : {}
  const lab = new Lab({ store, others: ['api'], random: chance.next, ...clones })
  await crashed(lab, act, chance)
  const unfinished = await lab.store.operations({ cluster: 'web', unfinished: true })
  // Of a rolling replace the whole: its part is a replace like any other.
  const record = unfinished.find(({ type }) => type === 'rolling_replace') ?? unfinished[0]
  const alive = new Set(lab.nodes.flatMap(node => [...node.instances.values()].filter(running).map(nameOf)))
  const members = (await lab.store.membership()).instances.filter(
    ({ id, cluster }) => cluster === 'web' && alive.has(id),
  )
  const others = unfinished.filter(one => one !== record)
  const journals = await Promise.all(others.map(({ id }) => lab.store.journal(id)))
  await lab.store.close()
  if (record === undefined) return null

  const { id, type } = record
  const harm = Object.keys(harms)[seed % Object.keys(harms).length]!
  const db = new DatabaseSync(path, { enableForeignKeyConstraints: false })
  const done = `seed ${seed}: ${type}: ${harm}: ${harms[harm]!(db, id, chance)}`
  db.close()
  const before = owned(lab)
  lab.store = atOnce(path)
  t.ok(await lab.boot(), `${done}: it starts`)
  await rounds(lab)
  const after = owned(lab)
  // What can be believed goes on: a part of what is damaged takes its own back; and the dead leave.
  const theirs = new Set(journals.flatMap(claimedNames))
  t.strictSame(
    before.filter(
      name => !after.includes(name) && !theirs.has(name) && (act !== 'failover' || alive.has(name)),
    ),
    [],
    `${done}: nothing is destroyed`,
  )
  const serving = new Map(lab.backends().map(backend => [backend.id, backend.state]))
  for (const member of members)
    if (!theirs.has(member.id)) t.equal(serving.get(member.id), 'ready', `${done}: ${member.id} serves`)
  t.strictSame(lab.violations, [], done)
  const elsewhere = await lab.store.operations({ cluster: 'api' })
  t.ok(
    elsewhere.every(one => one.outcome !== null),
    `${done}: every other operation has ended`,
  )
  const unsound = (await lab.store.operations({ unfinished: true })).filter(one => one.cluster !== 'api')
  t.equal(unsound.length, 1, `${done}: it is kept`)
  await acknowledged(t, lab, unsound[0]!.id, done)
  await lab.close()
  await lab.store.close()
  return { harm, type }
}

const nameOf = ({ name }: { readonly name: string }) => name
const running = ({ state }: { readonly state: string }) => state !== 'stopped'

async function rounds(lab: Lab): Promise<void> {
  for (let round = 0; round < roundsMax; round++) {
    await lab.time.pass(roundMs)
    await lab.time.until(lab.scaling.reconcile())
  }
}

/** Two instances in each cluster, and a crash while something is done to both. */
async function crashed(lab: Lab, act: string, chance: Chance): Promise<void> {
  await lab.boot()
  for (const cluster of ['web', 'api']) {
    const request = { ...to(2), type: 'scale_out' } as OperationRequest
    await lab.time.until(lab.scaling.start(cluster, request, 'test'))
  }
  await lab.time.until(lab.settle())
  if (act === 'failover')
    for (let looks = 0; looks < 2; looks++) await lab.time.until(lab.scaling.readiness.keepReady())
  if (act === 'rolling')
    await lab.reconfigure({ instance: { ...lab.config.instance!, template: { release: 2 } } })
  const crashAt = lab.writes + chance.whole(4, act === 'resize' ? 14 : 44)
  lab.faults.store = (moment, write) => (moment === 'after' && write >= crashAt ? 'crash' : null)
  await lab.survive(async () => {
    await acts[act]!(lab, chance)
    await lab.scaling.start('api', to(chance.happens(0.5) ? 3 : 1), 'test')
    await lab.settle()
  })
  if (lab.alive) lab.kill()
  lab.faults = {}
}

/** It is told, and ends when somebody says so; what is left of it goes then. */
async function acknowledged(t: Test, lab: Lab, id: string, done: string): Promise<void> {
  const view = await lab.time.until(lab.scaling.view(id))
  t.match(view, { status: 'stuck', error: { code: 'operation_damaged' } }, done)
  const { remedies } = view.error!.details as { readonly remedies: readonly string[] }
  t.match(remedies.join(), `${id} --acknowledge`, `${done}: and says what to do`)
  t.ok((await lab.time.until(lab.scaling.list({}))).length > 0, 'all are listed')
  const ended = await lab.time.until(lab.scaling.acknowledge(id, 'somebody'))
  t.equal(ended.status, 'failed', done)
  if ((await lab.store.flaws()).length > 0) return
  await lab.time.pass(roundMs)
  await lab.time.until(lab.scaling.reconcile())
  const { instances } = await lab.store.membership()
  const pool = (await lab.store.value('pool:web')) as { readonly items: readonly PoolItem[] } | null
  const standing = pool?.items.flatMap(({ name, snapshot }) => [name, snapshot]) ?? []
  const there = owned(lab)
  t.strictSame(
    there,
    [
      ...instances.flatMap(one => (one.cluster === 'web' ? one.id : [])),
      ...standing.filter(name => there.includes(name)),
    ].sort(),
    `${done}: nothing is left over`,
  )
}

/** What the nodes hold of the cluster. */
const owned = (lab: Lab): readonly string[] =>
  lab.nodes
    .flatMap(node => [...node.instances.values(), ...node.snapshots.values()])
    .filter(({ owner }) => owner.cluster === 'web')
    .map(({ name }) => name)
    .sort()

function entries(db: DatabaseSync, id: string): Cells[] {
  return db.prepare('SELECT * FROM journal WHERE operation = ? ORDER BY seq').all(id) as Cells[]
}

/** One text of the record or of an entry. */
function harmText(
  db: DatabaseSync,
  id: string,
  chance: Chance,
  harm: (text: string, chance: Chance) => string,
) {
  const record = chance.happens(0.3)
  const table = record ? 'operation' : 'journal'
  const columns = record ? ['cluster', 'type', 'request', 'actor'] : ['step', 'kind', 'data']
  const column = chance.one(columns)!
  const row = record ? { id } : chance.one(entries(db, id))!
  const where = record ? 'id = :id' : 'operation = :id AND seq = :seq'
  const key = record ? { id } : { id, seq: Number((row as Cells).seq) }
  const found = db.prepare(`SELECT ${column} AS text FROM ${table} WHERE ${where}`).get(key) as Cells
  const text = String(found.text)
  const harmed = harm(text, chance)
  const changed = harmed === text ? `${text} ` : harmed
  db.prepare(`UPDATE ${table} SET ${column} = :changed WHERE ${where}`).run({ ...key, changed })
  return `${table}.${column} from ${text.slice(0, 60)} to ${changed.slice(0, 60)}`
}

function flipped(text: string, chance: Chance): string {
  const at = chance.whole(0, Math.max(0, text.length - 1))
  const other = String.fromCharCode(text.charCodeAt(at) ^ (1 << chance.whole(0, 4)))
  return `${text.slice(0, at)}${other}${text.slice(at + 1)}`
}

/** The record, or the last entry, as another version would have written it: with a seal of its own. */
function rewrite(
  db: DatabaseSync,
  table: 'operation' | 'journal',
  id: string,
  change: (row: Cells) => Cells,
  format: number,
): void {
  const row =
    table === 'operation' ? (db.prepare('SELECT * FROM operation WHERE id = ?').get(id) as Cells) : null
  const whole = change(row ?? entries(db, id).at(-1)!)
  const { checksum } = sealed(whole, format)
  const names = Object.keys(whole).filter(name => !['rank', 'format', 'checksum'].includes(name))
  const where = table === 'operation' ? 'id = :id' : 'operation = :operation AND seq = :seq'
  const sets = names.map(name => `${name} = :${name}`).join(', ')
  const values = Object.fromEntries(names.map(name => [name, whole[name]!]))
  db.prepare(`UPDATE ${table} SET ${sets}, format = :format, checksum = :checksum WHERE ${where}`).run({
    ...values,
    format,
    checksum: Number(checksum),
  })
}

t.test('a damaged record of an instance is mended by what its node holds', async t => {
  const path = join(t.testdir({}), 'tidegate.db')
  const lab = new Lab({ store: atOnce(path) })
  await lab.boot()
  await lab.scaleTo(2)
  const [first, second] = (await lab.store.membership()).instances
  lab.kill()
  await lab.store.close()
  const db = new DatabaseSync(path)
  db.prepare('UPDATE instance SET port = 1 WHERE id = ?').run(first!.id)
  db.prepare("UPDATE instance SET id = 'web-nobody-1' WHERE id = ?").run(second!.id)
  db.close()
  lab.store = atOnce(path)
  t.teardown(() => lab.store.close())
  await lab.boot()
  t.match(
    lab.backends().find(({ id }) => id === first!.id),
    { port: first!.address.port, state: 'ready' },
  )
  t.strictSame(
    (await lab.store.membership()).instances.find(({ id }) => id === first!.id),
    first,
  )
  t.match(await lab.store.history('web', 2), [
    { action: 'scale_out', from: 1, to: 2, actor: 'reconcile' },
    { action: 'mend', reason: /checksum/ },
  ])
  await rounds(lab)
  t.ok(owned(lab).includes(second!.id), 'whose record cannot be found is left alone')
  t.match(await lab.store.flaws(), [{ of: 'instance', id: 'web-nobody-1' }])
  await lab.close()
})
