/**
 * The affinity cookie's value: sealed, so that it tells a client nothing and a client can make none. docs/affinity.md
 *
 *   base64url( version 1 · key id 1 · nonce 12 · sealed · tag 16 )          AES-256-GCM
 *   sealed = first issued 6 · issued 6 · session id 12 · incarnation        times in ms since the epoch, big-endian
 *
 * The head, the cluster's id and the cookie's name are authenticated with it: a cookie of another cluster does not open.
 * A value that does not open, whatever the cause, is as good as no cookie. It knows nothing of headers or members.
 */
import { strict as assert } from 'node:assert'
import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  type KeyObject,
  randomFillSync,
} from 'node:crypto'
import type { AffinityKey } from '../cluster/table.ts'

const version = 1
const headBytes = 14
const tagBytes = 16
const nonceBytes = 12
const sessionBytes = nonceBytes
const fixedBytes = 6 + 6 + sessionBytes
const incarnationBytesMax = 128
const valueCharsMax = Math.ceil(((headBytes + fixedBytes + incarnationBytesMax + tagBytes) * 4) / 3)
const algorithm = 'aes-256-gcm'
/** Opened values remembered a thread and cluster: opening costs some 10 µs, remembering some 0.1 µs. */
const rememberedMax = 20_000

export interface Session {
  /** The member's incarnation. */
  readonly incarnation: string
  /** Random, base64url; stays the same when the session is renewed or moves to another member. */
  readonly id: string
  readonly firstIssuedMs: number
  readonly issuedMs: number
}

export interface OpenedSession<Owner> extends Session {
  /** Signed by a key that is no longer the newest: to be issued anew. */
  readonly oldKey: boolean
  /** Opened for the first time by this thread (as far as it remembers). */
  readonly first: boolean
  /** For `Owners`: where its owner was looked for last, and who that was. It comes back with the same value. */
  soughtIn: number
  owner: Owner | null
}

interface HeldKey {
  readonly id: number
  readonly bytes: Uint8Array
  readonly object: KeyObject
}

/** What the next `open` says, as long as the key is the newest: made once, for clients that come again and again. */
interface Remembered<Owner> extends OpenedSession<Owner> {
  readonly key: HeldKey
}

export class SessionCookies<Owner = unknown> {
  readonly #context: Buffer
  #keys: readonly HeldKey[] = []
  #recent = new Map<string, Remembered<Owner>>()
  #older = new Map<string, Remembered<Owner>>()

  constructor(cluster: string, cookieName: string, keys: readonly AffinityKey[]) {
    this.#context = Buffer.from(`tidegate affinity\0${cluster}\0${cookieName}`)
    this.setKeys(keys)
  }

  /** Newest first: the first seals, all open. What a key that is gone had sealed opens no more. */
  setKeys(keys: readonly AffinityKey[]): void {
    assert(keys.length > 0, 'cookie affinity needs at least one key')
    this.#keys = keys.map(({ id, key }) => {
      assert(Number.isInteger(id) && id >= 1 && id <= 255, 'a key id is 1 … 255')
      assert(key.byteLength === 32, 'an affinity key has 32 bytes')
      const held = this.#keys.find(other => other.id === id && Buffer.compare(other.bytes, key) === 0)
      return held ?? { id, bytes: key, object: createSecretKey(key) }
    })
  }

  seal(session: Session): string {
    const key = this.#keys[0]!
    const head = Buffer.concat([Buffer.of(version, key.id), unguessable()])
    const cipher = createCipheriv(algorithm, key.object, head.subarray(2), { authTagLength: tagBytes })
    cipher.setAAD(Buffer.concat([head.subarray(0, 2), this.#context]))
    const incarnation = Buffer.from(session.incarnation)
    assert(
      incarnation.length <= incarnationBytesMax,
      `an incarnation has at most ${incarnationBytesMax} bytes`,
    )
    const plain = Buffer.alloc(fixedBytes + incarnation.length)
    plain.writeUIntBE(session.firstIssuedMs, 0, 6)
    plain.writeUIntBE(session.issuedMs, 6, 6)
    plain.write(session.id, 12, 'base64url')
    incarnation.copy(plain, fixedBytes)
    const sealed = [cipher.update(plain), cipher.final()]
    return Buffer.concat([head, ...sealed, cipher.getAuthTag()]).toString('base64url')
  }

  /** What the value says, or null: not ours, of another cluster, tampered with, of a key that is gone. Never throws. */
  open(value: string): OpenedSession<Owner> | null {
    if (value.length > valueCharsMax) return null
    const known = this.#known(value)
    if (known !== null) return known.key === this.#keys[0] ? known : { ...known, oldKey: true }
    const fresh = this.#unseal(value)
    if (fresh === null) return null
    this.#remember(value, fresh)
    return { ...fresh, oldKey: fresh.key !== this.#keys[0], first: true }
  }

  /** As `open`, but as if nobody had looked: the next `open` is still the first. */
  peek(value: string): Session | null {
    if (value.length > valueCharsMax) return null
    return this.#known(value) ?? this.#unseal(value)
  }

  #known(value: string): Remembered<Owner> | null {
    const known = this.#recent.get(value) ?? this.#older.get(value)
    return known && this.#keys.includes(known.key) ? known : null
  }

  #unseal(value: string): Remembered<Owner> | null {
    const bytes = Buffer.from(value, 'base64url')
    if (bytes.length <= headBytes + fixedBytes + tagBytes || bytes[0] !== version) return null
    const key = this.#keys.find(held => held.id === bytes[1])
    if (!key) return null
    const decipher = createDecipheriv(algorithm, key.object, bytes.subarray(2, headBytes), {
      authTagLength: tagBytes,
    })
    decipher.setAAD(Buffer.concat([bytes.subarray(0, 2), this.#context]))
    decipher.setAuthTag(bytes.subarray(-tagBytes))
    try {
      const plain = Buffer.concat([decipher.update(bytes.subarray(headBytes, -tagBytes)), decipher.final()])
      return { ...parse(plain), oldKey: false, first: false, soughtIn: 0, owner: null, key }
    } catch {
      return null
    }
  }

  /** Two halves: when the recent one is full it becomes the older one, which is dropped the next time. */
  #remember(value: string, remembered: Remembered<Owner>): void {
    if (this.#recent.size >= rememberedMax / 2) {
      this.#older = this.#recent
      this.#recent = new Map()
    }
    // Copied: a part of a header would keep the whole header in memory.
    this.#recent.set(Buffer.from(value, 'latin1').toString('latin1'), remembered)
  }
}

export function newSession(incarnation: string, nowMs: number): Session {
  return {
    incarnation,
    id: unguessable().toString('base64url'),
    firstIssuedMs: nowMs,
    issuedMs: nowMs,
  }
}

/** The same session, issued now and for this member. */
export function issuedAnew({ id, firstIssuedMs }: Session, incarnation: string, nowMs: number): Session {
  return { incarnation, id, firstIssuedMs, issuedMs: nowMs }
}

/** 12 bytes, each given out once. Asked of the system by the thousand: that costs as much as for 12. */
function unguessable(): Buffer {
  if (poolAt === pool.length) {
    randomFillSync(pool)
    poolAt = 0
  }
  const bytes = Buffer.copyBytesFrom(pool, poolAt, nonceBytes)
  pool.fill(0, poolAt, poolAt + nonceBytes)
  poolAt += nonceBytes
  return bytes
}

const pool = Buffer.alloc(nonceBytes * 256)
let poolAt = pool.length

function parse(plain: Buffer): Session {
  return {
    firstIssuedMs: plain.readUIntBE(0, 6),
    issuedMs: plain.readUIntBE(6, 6),
    id: plain.toString('base64url', 12, fixedBytes),
    incarnation: plain.toString('utf8', fixedBytes),
  }
}
