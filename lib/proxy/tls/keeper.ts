/**
 * Keeps what TLS is made of, on the control plane: reads the files at the start and for a reload, looks every few seconds whether they
 * have changed, makes the ticket keys, and hands every change to whoever carries it to the threads.
 *
 *   file changed ──► all of its use is in order ──► new material, told
 *                └─► something is wrong ──► the former stays in use; said once, when it is still wrong at the next look
 *
 * A certificate and its key are two files, and a renewal writes one after the other: hence the second look.
 */
import { randomBytes } from 'node:crypto'
import { readUse, stampsOf } from '../../certificate-files.ts'
import {
  type CertificateFacts,
  type CertificateInUse,
  dateWarning,
  type TlsFault,
  type TlsUse,
  usesOf,
} from '../../certificates.ts'
import type { Clock } from '../../clock.ts'
import type { Config } from '../../config/config.ts'
import { TidegateError } from '../../errors.ts'
import type { Events } from '../../events.ts'
import type { Log } from '../../log.ts'
import type { TlsMaterial, UseMaterial } from './material.ts'

export const certificatePollMs = 5_000
const ticketKeyBytes = 48

export interface TlsKeeperDeps {
  readonly clock: Clock
  readonly log: Log
  readonly events: Events
}

type TlsConfig = Pick<Config, 'listeners' | 'clusters'>

interface Held {
  readonly use: TlsUse
  readonly name: string
  /** By file, as they were before it was last read: what is written while we read is seen as a change the next time. */
  stamps: ReadonlyMap<string, string | null>
  /** Texts of its files as they are in use. */
  texts: ReadonlyMap<string, string>
  certificates: readonly CertificateFacts[]
  loadedAtMs: number
  material: UseMaterial
  /** The fault of the last look, and whether it was told. */
  fault: string | null
  told: boolean
}

/** A configuration whose files are read: exactly one of the two is called. */
export interface PreparedTls {
  commit(): Promise<void>
  undo(): Promise<void>
}

export class TlsKeeper {
  readonly #deps: TlsKeeperDeps
  readonly #listeners = new Set<(material: TlsMaterial) => void>()
  /** By the key of the use. */
  #held: ReadonlyMap<string, Held> = new Map()
  #material: TlsMaterial
  #ticketKeys: Uint8Array = randomBytes(ticketKeyBytes)
  #cancel: () => void
  #looking: Promise<void> | null = null
  #closed = false

  /** Rejects with `invalid_config` that names every fault of every file. */
  static async open(config: TlsConfig, deps: TlsKeeperDeps): Promise<TlsKeeper> {
    const keeper = new TlsKeeper(deps)
    try {
      await (await keeper.prepare(config)).commit()
      return keeper
    } catch (error) {
      keeper.close()
      throw error
    }
  }

  private constructor(deps: TlsKeeperDeps) {
    this.#deps = deps
    this.#material = { uses: {}, ticketKeys: this.#ticketKeys }
    const failed = (error: unknown) => deps.log.error({ err: error }, 'certificate files were not looked at')
    this.#cancel = deps.clock.every(certificatePollMs, () => void this.look().catch(failed))
  }

  /** The newest. */
  material(): TlsMaterial {
    return this.#material
  }

  /** Calls `listener` with each later material. Returns the way out. */
  onChange(listener: (material: TlsMaterial) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Whose end comes first first. */
  certificates(): readonly CertificateInUse[] {
    const all = [...this.#held.values()].flatMap(({ name, use, certificates, loadedAtMs }) =>
      certificates.map(({ names, endsAtMs, fingerprint }, i) => {
        const { file } = use.pairs[i]!.cert
        return { use: name, names, endsAtMs, fingerprint, file, loadedAtMs }
      }),
    )
    return all.sort((a, b) => a.endsAtMs - b.endsAtMs)
  }

  /** From now on sessions are sealed with a new key; those sealed with the former one cost their clients a full handshake. */
  rotateTicketKeys(): void {
    this.#ticketKeys = randomBytes(ticketKeyBytes)
    this.#publish()
  }

  /**
   * Reads what a changed configuration names; until `commit` both are at hand. Rejects, with nothing changed, with an
   * `invalid_config` that names every fault of every file.
   */
  async prepare(config: TlsConfig): Promise<PreparedTls> {
    await this.look()
    const before = this.#held
    const wanted = new Map<string, Held>()
    const faults: TlsFault[] = []
    for (const use of usesOf(config)) {
      const kept = before.get(use.key) ?? wanted.get(use.key)
      const held = kept ? { ...kept, use, name: pathText(use.path) } : await this.#read(use, faults)
      wanted.set(use.key, held)
      if (!kept && faults.length === 0) this.#warn(held)
    }
    if (faults.length > 0) throw readError(faults)
    const become = (held: ReadonlyMap<string, Held>) => {
      this.#held = held
      this.#publish()
    }
    become(new Map([...before, ...wanted]))
    return {
      commit: async () => {
        this.#warnUnverified(config)
        become(wanted)
      },
      undo: async () => become(before),
    }
  }

  /** Looks at the files now. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = null
    })
    return this.#looking
  }

  close(): void {
    this.#closed = true
    this.#cancel()
    this.#listeners.clear()
  }

  async #look(): Promise<void> {
    let changed = false
    for (const held of this.#held.values()) {
      const stamps = await stampsOf(held.use)
      const same = [...stamps].every(([file, stamp]) => stamp === held.stamps.get(file))
      // What was wrong is looked at again, so that the second look is sure to come.
      if (same && (held.fault === null || held.told)) continue
      held.stamps = stamps
      if (await this.#renew(held)) changed = true
    }
    if (changed && !this.#closed) this.#publish()
  }

  /** True: it has something new. */
  async #renew(held: Held): Promise<boolean> {
    const { name, use } = held
    const { log, events } = this.#deps
    const { texts, certificates, faults } = await readUse(use)
    if (faults.length > 0) {
      const fault = faults.map(({ message }) => message).join('; ')
      held.told = held.fault === fault
      held.fault = fault
      if (!held.told) return false
      log.error({ tls: name, fault }, 'changed certificate files cannot be used; the former stay in use')
      events.publish({ type: 'tls', use: name, status: 'refused', detail: fault })
      return false
    }
    held.fault = null
    held.told = false
    if ([...texts].every(([file, text]) => held.texts.get(file) === text)) return false
    const loadedAtMs = this.#deps.clock.now()
    Object.assign(held, { texts, certificates, loadedAtMs, material: materialOf(use, texts, certificates) })
    this.#warn(held)
    log.info({ tls: name }, 'certificate files have changed and are in use')
    events.publish({ type: 'tls', use: name, status: 'renewed', detail: null })
    return true
  }

  async #read(use: TlsUse, faults: TlsFault[]): Promise<Held> {
    const stamps = await stampsOf(use)
    const { texts, certificates, faults: found } = await readUse(use)
    faults.push(...found)
    const material = found.length > 0 ? nothing : materialOf(use, texts, certificates)
    const read = { stamps, texts, certificates, material, loadedAtMs: this.#deps.clock.now() }
    return { use, name: pathText(use.path), ...read, fault: null, told: false }
  }

  #warn({ name, certificates }: Held): void {
    for (const facts of certificates) {
      const warning = dateWarning(facts, this.#deps.clock.now())
      if (warning === null) continue
      const { names } = facts
      this.#deps.log.warn({ tls: name, names, warning }, 'a certificate that clients may not accept')
    }
  }

  #warnUnverified({ clusters }: TlsConfig): void {
    for (const { id, tls } of clusters)
      if (tls && !tls.verify)
        this.#deps.log.warn(
          { cluster: id },
          'tls.verify is false: whoever answers in the place of these backends is believed',
        )
  }

  #publish(): void {
    this.#material = {
      uses: Object.fromEntries([...this.#held].map(([key, { material }]) => [key, material])),
      ticketKeys: this.#ticketKeys,
    }
    for (const listener of this.#listeners) listener(this.#material)
  }
}

const nothing: UseMaterial = { certificates: [], authorities: null }

function materialOf(
  { pairs, authorities }: TlsUse,
  texts: ReadonlyMap<string, string>,
  certificates: readonly CertificateFacts[],
): UseMaterial {
  return {
    certificates: pairs.map(({ cert, key }, i) => ({
      cert: texts.get(cert.file)!,
      key: texts.get(key.file)!,
      names: certificates[i]!.names,
    })),
    authorities: authorities ? texts.get(authorities.file)! : null,
  }
}

function readError(faults: readonly TlsFault[]): TidegateError {
  const lines = faults.map(({ path, message, fix }) => `${pathText(path)}: ${message} — ${fix}`)
  return new TidegateError('invalid_config', lines.join('\n'), {
    details: { faults: faults.map(fault => ({ ...fault, path: pathText(fault.path) })) },
  })
}

/** `listeners[0].tls.certificates[1].key`, as the configuration's faults are told. */
function pathText(path: readonly (string | number)[]): string {
  let text = ''
  for (const part of path) text += typeof part === 'number' ? `[${part}]` : text === '' ? part : `.${part}`
  return text
}
