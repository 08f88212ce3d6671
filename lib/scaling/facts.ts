/**
 * What the steps of an operation tell each other. It passes through the journal and nowhere else, so a step finds the same
 * facts after a crash as before it. All of it is plain JSON. @pure
 */
import { strict as assert } from 'node:assert'
import type { Resources } from '../config/config.ts'
import type { AncestorRecord, JournalEntry, Json, OperationRecord } from '../store/store.ts'
import type { Picture } from './picture.ts'

/** What is known of one instance when an operation begins. */
export type InstanceFacts = {
  readonly id: string
  readonly node: string
  /** The backend's state, or `absent` when no backend of that name serves. */
  readonly state: string
  /** Its checks pass. */
  readonly healthy: boolean
  /** It passes, with something to be said against it. Absent in journals of former versions, as is `silent`. */
  readonly degraded?: boolean
  /** Its checks meet nothing but silence: nobody refuses, nobody answers badly. */
  readonly silent?: boolean
  /** What the hypervisor says: `running` `paused` `stopped` `unknown`, or `gone`. */
  readonly reality: string
  readonly in_flight: number
  readonly tunnels: number
  readonly sessions: number | null
  readonly resident_bytes: number | null
  readonly origin: string
  readonly created_at_ms: number
  readonly zone?: string | null
  /** Of its node; 0 where nobody said. */
  readonly hourly?: number
  readonly protected?: boolean
  /** A snapshot of it is being made. */
  readonly saving?: boolean
  /** Its node takes no new instances: it is being emptied. */
  readonly node_closed?: boolean
}

export type MetricsData = {
  readonly instances: readonly InstanceFacts[]
  readonly unreachable_nodes: readonly string[]
  /** What is compared with after an undo. Absent in journals of former versions. */
  readonly picture?: Picture
}

/** Where clones can come from: a live instance, or a golden snapshot that exists already. */
export type Source = {
  readonly node: string
  readonly instance: string | null
  readonly snapshot: string | null
}
export type Victim = { readonly id: string; readonly node: string }

/** One who could leave, as it was judged. */
export type VictimCandidate = {
  readonly id: string
  readonly node: string
  readonly zone: string | null
  readonly sessions: number | null
  readonly tunnels: number
  readonly in_flight: number
  /** What is lost with it: sessions, tunnels and exchanges together. */
  readonly score: number
  readonly hourly: number
  /** It serves somebody. */
  readonly useful: boolean
  readonly chosen: boolean
  /** Why it must stay; null: it could leave. */
  readonly kept: string | null
}

/** One node that was looked at for new instances. `score` and `parts` are those before the first was placed. */
export type Candidate = {
  readonly node: string
  readonly zone: string
  /** How many there is room for. */
  readonly fits: number
  readonly taken: number
  readonly score: number
  readonly parts: Readonly<Record<'locality' | 'free' | 'spread' | 'load', number>>
  /** Why it takes none; null: it does. */
  readonly why: string | null
}

export type PlanData = {
  readonly from: number
  readonly to: number
  readonly add: number
  /** `live` and `golden` clone; `create` boots from nothing. */
  readonly mode: string
  readonly sources: readonly Source[]
  readonly victims: readonly Victim[]
  /** All who could have left. Absent where nobody does, and in journals of former versions, as is `in_flight`. */
  readonly candidates?: readonly VictimCandidate[]
  /** Exchanges that were under way in the cluster. */
  readonly in_flight?: number
  /** The version of the template that what is not cloned from a live one is made from. Absent in journals of former versions. */
  readonly version?: string
  /** Of an operation that was asked for CPUs: those of all together, before, after and as they were asked for. */
  readonly cpus?: { readonly from: number; readonly to: number; readonly target: number }
  /** Who grows before others are made. */
  readonly grow?: readonly Growing[]
  readonly reason: string
}

type Size = { readonly [K in keyof Resources]: number }
/** One who is there and gets more. */
export type Growing = { readonly id: string; readonly node: string; readonly from: Size; readonly to: Size }
/** Each with what it really has now. */
export type GrownData = { readonly grown: readonly { readonly id: string; readonly resources: Size }[] }

/** One instance to be made. `snapshot` null: it boots from nothing. */
export type Item = {
  readonly name: string
  readonly node: string
  readonly snapshot: string | null
  readonly score?: number
  /** Taken out of the warm pool: it is there already. */
  readonly pooled?: boolean
  /** What its source was given while it ran, which it has too; left out: what its cluster says. */
  readonly resources?: { readonly [K in keyof Resources]: number }
  /** Whose copy it is, where the snapshot cannot say any more: it stood by. */
  readonly from?: { readonly instance_id: string; readonly at_ms: number }
}
/** A snapshot to be made of a live source. */
export type SnapshotItem = { readonly name: string; readonly node: string; readonly source: string }

export type AllocateData = {
  readonly items: readonly Item[]
  readonly snapshots: readonly SnapshotItem[]
  /** Kept snapshots that are cloned from, and what was taken out of the warm pool: claimed until the operation ends. Absent in journals of former versions. */
  readonly names?: readonly string[]
  readonly candidates?: readonly Candidate[]
}
/** Intents that make or remove something carry its names: they are a claim that keeps the collector away. */
export type Claim = { readonly names: readonly string[] }
export type PrepareIntent = Claim & {
  readonly snapshots: readonly SnapshotItem[]
  /** Sources that are taken out of new traffic for the time of the snapshot. */
  readonly fenced: readonly string[]
}
/** Of a replace: whom its switch closes to new clients. Absent in journals of former versions. */
export type SwitchIntent = { readonly closed: readonly string[] }
export type DeregisterData = {
  readonly removed: readonly string[]
  /** Who was to leave and stays. Absent: nobody. */
  readonly kept?: readonly string[]
}
/** What a step that is done says when not all came of it that was asked: it stands, and the operation ends `failed`. */
export type Shortfall = {
  readonly code: 'instance_died' | 'instance_unhealthy'
  readonly message: string
  readonly details: { readonly [key: string]: Json }
}
export type Address = { readonly host: string; readonly port: number }
export type MadeData = {
  readonly instances: readonly {
    readonly name: string
    readonly node: string
    readonly address: Address
    /** Booted from nothing although it was to be a clone. */
    readonly booted?: boolean
  }[]
}
export type IdentifyIntent = {
  readonly items: readonly {
    readonly name: string
    readonly incarnation: string
    /** When it is done. Absent in journals of former versions. */
    readonly lineage?: readonly AncestorRecord[]
  }[]
}
export type GoldenValue = {
  readonly node: string
  readonly snapshot: string
  /** The hash of what it was made from. */
  readonly inputs: string
  readonly bytes: number
  readonly made_at_ms: number
}

/** The value's key in the store under which a cluster's golden snapshot is kept. */
export const goldenKey = (cluster: string) => `golden:${cluster}`

/** What a step that is done left for the later ones. Asking for a step that is not done is a mistake in the recipe. */
export function doneData<T>(journal: readonly JournalEntry[], step: string): T {
  const entry = journal.findLast(entry => entry.step === step && entry.kind === 'done')
  assert(entry, `step ${step} is done`)
  return entry.data as T
}

/** What those have who grew in this operation: the store knows it only with its members. */
export function grownIn(journal: readonly JournalEntry[]): ReadonlyMap<string, Resources> {
  const entry = journal.findLast(({ step, kind }) => step === 'grow' && kind === 'done')
  const { grown = [] } = (entry?.data ?? {}) as Partial<GrownData>
  return new Map(grown.map(({ id, resources }) => [id, resources]))
}

/** What a step said it was about to do, the last time it was started; null if it never was. */
export function intentOf<T>(journal: readonly JournalEntry[], step: string): T | null {
  const entry = journal.findLast(entry => entry.step === step && entry.kind === 'started')
  return entry ? (entry.data as T) : null
}

/** Who leaves in the end: those who were to, but for whoever stays because the one in its place does not serve, and that one instead. */
export function leavingBy(journal: readonly JournalEntry[]): readonly Victim[] {
  const { victims } = doneData<PlanData>(journal, 'plan')
  const gone = journal.findLast(({ step, kind }) => step === 'deregister' && kind === 'done')
  const { kept = [], removed } = (gone?.data ?? {}) as Partial<DeregisterData>
  if (kept.length === 0 || removed === undefined) return victims
  const { items } = doneData<AllocateData>(journal, 'allocate')
  const all = [...victims, ...items.map(({ name, node }) => ({ id: name, node }))]
  return all.filter(({ id }) => removed.includes(id)).map(({ id, node }) => ({ id, node }))
}

/** Whom an operation closed to new clients, as far as its journal says. */
export function closedBy(journal: readonly JournalEntry[]): readonly string[] {
  const fenced = intentOf<Partial<Claim>>(journal, 'fence')?.names ?? []
  const { closed = [] } = intentOf<Partial<SwitchIntent>>(journal, 'register') ?? {}
  const back = journal.some(({ step, kind }) => step === 'register' && kind === 'reverting')
  const made = back ? doneData<AllocateData>(journal, 'allocate').items.map(({ name }) => name) : []
  return [...new Set([...fenced, ...closed, ...made])]
}

/** Every name that a journal claims: what its steps said they were about to make or to remove, and what they chose to use. */
export function claimedNames(journal: readonly JournalEntry[]): readonly string[] {
  return journal
    .filter(({ kind }) => kind === 'started' || kind === 'done')
    .flatMap(entry => namesOf(entry.data))
}

/**
 * Everybody whom an operation takes from, makes or removes: whoever was asked for, who leaves, whose memory is copied. Null: it has not
 * chosen yet.
 */
export function concernedBy(
  { request }: Pick<OperationRecord, 'request'>,
  journal: readonly JournalEntry[],
): ReadonlySet<string> | null {
  const chosen = journal.filter(({ kind }) => kind === 'done')
  const plan = chosen.find(({ step }) => step === 'plan')?.data as Partial<PlanData> | undefined
  const places = chosen.find(({ step }) => step === 'allocate')?.data as Partial<AllocateData> | undefined
  if (!plan || ((plan.add ?? 0) > 0 && !places)) return null
  const victims = [...(plan.victims ?? []), ...(plan.grow ?? [])].map(({ id }) => id)
  const sources = [
    ...(places?.snapshots ?? []).map(({ source }) => source),
    ...(places?.items ?? []).flatMap(({ from }) => from?.instance_id ?? []),
  ]
  return new Set([...textsOf(request), ...claimedNames(journal), ...victims, ...sources])
}

/** The instances that were booted from nothing: their identity is `created`, not `cloned`. */
export function bootedNames(journal: readonly JournalEntry[]): ReadonlySet<string> {
  const { items } = doneData<AllocateData>(journal, 'allocate')
  const made = new Map(doneData<MadeData>(journal, 'clone').instances.map(one => [one.name, one]))
  const booted = items.filter(({ name, snapshot }) => snapshot === null || made.get(name)?.booted === true)
  return new Set(booted.map(item => item.name))
}

function textsOf(data: Json): readonly string[] {
  if (typeof data === 'string') return [data]
  return data !== null && typeof data === 'object' ? Object.values(data).flatMap(textsOf) : []
}

function namesOf(data: Json): readonly string[] {
  if (data === null || typeof data !== 'object' || Array.isArray(data)) return []
  const names = (data as { readonly [key: string]: Json }).names
  return Array.isArray(names) ? names.filter((name): name is string => typeof name === 'string') : []
}
