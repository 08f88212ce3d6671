/**
 * The keys that seal affinity cookies: made once, kept in the store, rotated on a schedule.
 * The newest signs; older ones verify until every cookie they sealed has ended its life, then they are dropped.
 */
import { randomBytes } from 'node:crypto'
import type { AffinityKey } from './cluster/table.ts'
import type { Json, Store } from './store/store.ts'

const storeKey = 'affinity_keys'
const keyBytes = 32
/** Ids are one byte in the cookie and are used in turn. */
const idMax = 255

interface StoredKey {
  readonly id: number
  readonly key: string
  readonly created_at_ms: number
}

/** Whether an earlier process made keys here: cookies that it sealed may live. */
export async function hasKeys(store: Store): Promise<boolean> {
  return (await read(store)).length > 0
}

/** The kept keys, newest first; makes the first one. */
export async function loadKeys(store: Store, nowMs: number): Promise<readonly AffinityKey[]> {
  const kept = await read(store)
  return kept.length > 0 ? kept.map(decode) : rotateKeys(store, nowMs, 0)
}

/** Adds a new signing key and drops those that can no longer have sealed a live cookie. `ttlMaxMs`: the longest cookie life. */
export async function rotateKeys(
  store: Store,
  nowMs: number,
  ttlMaxMs: number,
): Promise<readonly AffinityKey[]> {
  const kept = await read(store)
  // A key signed until the next newer one was made: it is needed for one cookie life after that moment.
  const needed = kept.filter((_, i) => i === 0 || kept[i - 1]!.created_at_ms + ttlMaxMs > nowMs)
  const id = ((kept[0]?.id ?? 0) % idMax) + 1
  const fresh = { id, key: randomBytes(keyBytes).toString('base64'), created_at_ms: nowMs }
  const next = [fresh, ...needed.filter(key => key.id !== id)].slice(0, idMax - 1)
  await store.write([{ put: 'value', key: storeKey, value: next as unknown as Json }])
  return next.map(decode)
}

async function read(store: Store): Promise<readonly StoredKey[]> {
  return ((await store.value(storeKey)) ?? []) as unknown as readonly StoredKey[]
}

const decode = (stored: StoredKey): AffinityKey => ({ id: stored.id, key: Buffer.from(stored.key, 'base64') })
