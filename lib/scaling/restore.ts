/** Looking at a cluster before an operation and after its undo, for `picture.ts` to compare. */
import type { Held } from '../hypervisor/driver.ts'
import type { JournalEntry, Json, OperationRecord, Write } from '../store/store.ts'
import {
  type AllocateData,
  claimedNames,
  closedBy,
  type GoldenValue,
  goldenKey,
  intentOf,
  type PlanData,
  type PrepareIntent,
} from './facts.ts'
import { ensureDeregistered, servingIds } from './membership-change.ts'
import type { Difference } from './next.ts'
import { differencesBetween, type Own, type Picture, pictureOf, type Scene } from './picture.ts'
import { batchStep, type RollingRequest } from './rolling/rolling.ts'
import { destroyAll } from './teardown.ts'
import { commit, type World } from './world.ts'

/** What is there now, for the journal. */
export async function takePicture(
  world: World,
  cluster: string,
  held: ReadonlyMap<string, Held | null>,
): Promise<Picture> {
  return pictureOf(await sceneOf(world, cluster, held))
}

/** What is not as it was before the operation. Asks every node. */
export async function differencesAfter(
  world: World,
  record: OperationRecord,
  journal: readonly JournalEntry[],
): Promise<readonly Difference[]> {
  const held = await world.reality.inspectAll()
  const before = lastDone<{ readonly picture?: Picture }>(journal, 'collect_metrics')?.picture ?? null
  const scene = await sceneOf(world, record.cluster, held)
  const own = await ownOf(world, record, journal)
  if (record.type !== 'rolling_replace' || before === null) return differencesBetween(before, scene, own)
  const found = differencesBetween(exceptReplaced(before, record, journal, scene), scene, own)
  // Others took their places, and the golden snapshot is of the template that the configuration names.
  const other = found.filter(({ what }) => what !== 'member_new' && what !== 'golden_changed')
  return [...other, ...notBack(world, before, record, scene)]
}

/** Whom a batch replaced did not come back as he was: somebody made as he was made did. */
function exceptReplaced(
  before: Picture,
  { request }: OperationRecord,
  journal: readonly JournalEntry[],
  { members }: Scene,
): Picture {
  const { batches } = request as unknown as RollingRequest
  const begun = new Set(journal.map(({ step }) => step))
  const replaced = new Set(batches.flatMap((ids, index) => (begun.has(batchStep(index + 1)) ? ids : [])))
  const there = new Set(members.map(({ id }) => id))
  return { ...before, members: before.members.filter(({ id }) => there.has(id) || !replaced.has(id)) }
}

/** As many as before, and none of the new template. */
function notBack(
  world: World,
  before: Picture,
  { cluster, request }: OperationRecord,
  { members }: Scene,
): readonly Difference[] {
  const { former, template } = request as unknown as RollingRequest
  const gone = before.members.length - members.length
  const few = {
    ...{ what: 'member_gone', id: cluster, node: null, ours: false },
    ...{ expected: `${before.members.length} instances`, found: `${members.length}` },
  }
  const strange = former.includes(template)
    ? []
    : members.filter(({ id }) => world.templates.versionOf(cluster, id) === template)
  return [
    ...(gone > 0 ? [few] : []),
    ...strange.map(({ id, node }) => ({
      ...{ what: 'member_changed', id, node, ours: false },
      ...{ expected: 'of the former template', found: 'of the new one' },
    })),
  ]
}

/**
 * Undoes what the steps' own undoes could not know of: a request that arrived twice, or that was given up and done all the same,
 * makes something after everything was undone. Only what the comparison found, and found to be the operation's own.
 */
export async function mendDifferences(
  world: World,
  cluster: string,
  differences: readonly Difference[],
): Promise<void> {
  const own = (what: string) =>
    differences.flatMap(one =>
      one.ours && one.what === what && one.node !== null ? [{ name: one.id, node: one.node }] : [],
    )
  const serving = servingIds(world, cluster)
  for (const { name } of own('fenced')) if (serving.has(name)) world.clusters.unfence(cluster, name)
  for (const { name, node } of own('paused')) await world.reality.driver(node).resume(name)
  const left = own('member_left').map(({ name }) => name)
  if (left.length > 0) {
    const removal = left.flatMap((id): Write[] => [
      { delete: 'instance', id },
      { delete: 'mark', cluster, backend: id },
    ])
    await commit(world, removal)
    await ensureDeregistered(world, cluster, left)
  }
  await destroyAll(world, own('left_over'))
}

/** The nodes on which an operation's own things are, as far as its journal says. */
export function nodesOfJournal(journal: readonly JournalEntry[]): readonly string[] {
  const { items = [], snapshots = [] } = lastDone<Partial<AllocateData>>(journal, 'allocate') ?? {}
  const victims = lastDone<Partial<PlanData>>(journal, 'plan')?.victims ?? []
  return [...new Set([...items, ...snapshots, ...victims].map(row => row.node))]
}

async function ownOf(world: World, record: OperationRecord, journal: readonly JournalEntry[]): Promise<Own> {
  const sources = intentOf<Partial<PrepareIntent>>(journal, 'prepare')?.snapshots ?? []
  return {
    operation: record.id,
    nodes: claimedNames(journal).length > 0 ? nodesOfJournal(journal) : [],
    taken: [...sources.map(({ source }) => source), ...closedBy(journal)],
    reserved: world.promises.of(record.id),
    attended: await attendedSince(world, record),
  }
}

/** Lines of history that are looked through for what operators did meanwhile. */
const linesMax = 500
const acts: readonly string[] = ['drain_backend', 'ready_backend', 'maint_backend', 'protect_backend']

async function attendedSince({ store }: World, { cluster, createdAtMs }: OperationRecord) {
  const lines = await store.history(cluster, linesMax)
  const since = lines.filter(
    ({ atMs, action = '', outcome }) => atMs >= createdAtMs && acts.includes(action) && outcome === 'done',
  )
  return new Set(since.flatMap(({ backend }) => backend ?? []))
}

async function sceneOf(
  world: World,
  cluster: string,
  held: ReadonlyMap<string, Held | null>,
): Promise<Scene> {
  const { installation, members, promises, store, clusters } = world
  const golden = (await store.value(goldenKey(cluster))) as GoldenValue | null
  const marks = (await store.marks()).filter(mark => mark.cluster === cluster)
  const marked = new Map(marks.map(({ backend, mark }) => [backend, mark]))
  const serving = servingIds(world, cluster)
  const door = (id: string) => {
    if (!serving.has(id)) return 'absent'
    const { state, health } = clusters.backend(cluster, id)
    const drains = state === 'draining' || state === 'drained'
    // An operator's mark and the application's own wish are theirs.
    return drains && !marked.has(id) && health.says === 'ready' ? 'closed' : 'open'
  }
  return {
    ...{ installation, cluster, held, door, mark: (id: string) => marked.get(id) ?? null },
    members: members.of(cluster),
    golden: golden?.snapshot ?? null,
    promised: promises.all(),
  }
}

function lastDone<T>(journal: readonly JournalEntry[], step: string): T | null {
  const entry = journal.findLast(entry => entry.step === step && entry.kind === 'done')
  return (entry?.data as Json as T | undefined) ?? null
}
