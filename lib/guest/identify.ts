/**
 * Becoming somebody: what the agent does when the host says who this instance is.
 *
 *   nobody ──identify──▶ mending (VM: host name, entropy, clock) ──▶ hook ──ok──▶ identified
 *     ▲                                                                └─throws or too slow─▶ nobody
 *     └────────────────────── take_back, or identify as somebody else ◀──────────────────────┘
 */
import { createHash } from 'node:crypto'
import { existsSync, writeFileSync } from 'node:fs'
import type { Clock } from '../clock.ts'
import { mixIntoKernel, setTimeAndReseed } from './entropy.ts'
import type { AnyHooks, GuestIdentity } from './hooks.ts'
import type { IdentifyAnswer, IdentifyRequest } from './protocol.ts'
import { guestEnv, guestLimits } from './protocol.ts'
import { Refusal, withinHookTime } from './state.ts'

const rehearsals = 4

export interface IdentifierOptions {
  readonly vm: boolean
  readonly clock: Clock
}

export class Identifier {
  readonly #hook: AnyHooks['identified']
  readonly #options: IdentifierOptions
  #identity: GuestIdentity | null = null
  #answer: IdentifyAnswer | null = null
  /** Two identities at once would interleave their hooks: the second waits for the first. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(hook: AnyHooks['identified'], options: IdentifierOptions) {
    this.#hook = hook
    this.#options = options
  }

  identity(): GuestIdentity | null {
    return this.#identity
  }

  forget(): void {
    this.#identity = null
    this.#answer = null
  }

  /** `receivedAtMs` (monotonic) is when the request came, which is when its wall clock was true. */
  identify(body: string, receivedAtMs: number): Promise<IdentifyAnswer> {
    const request = parseRequest(body)
    const turn = this.#last.then(() => this.#become(request, receivedAtMs))
    this.#last = turn.catch(() => {})
    return turn
  }

  async #become(request: IdentifyRequest, receivedAtMs: number): Promise<IdentifyAnswer> {
    const known = this.#answer
    // The host did not hear the first answer and asks again: the hook has run.
    if (known?.instance_id === request.instance_id && known.incarnation === request.incarnation) return known
    this.forget()
    const warnings = this.#options.vm ? this.#mend(request, receivedAtMs) : []
    for (const warning of warnings) process.emitWarning(`tidegate guest agent: ${warning}`)
    const identity: GuestIdentity = {
      instanceId: request.instance_id,
      incarnation: request.incarnation,
      cluster: request.cluster,
      reason: request.reason,
      ...(request.cloned_from ? { clonedFrom: sourceOf(request.cloned_from) } : {}),
    }
    if (this.#hook) await runHook(this.#hook, identity, this.#options.clock)
    this.#identity = identity
    this.#answer = {
      instance_id: request.instance_id,
      incarnation: request.incarnation,
      application: this.#hook ? 'acknowledged' : 'no_hook',
      warnings,
    }
    return this.#answer
  }

  /** A machine that was booted does it more than once: its clones find the code for it loaded, compiled and used to its data. */
  #mend(request: IdentifyRequest, receivedAtMs: number): readonly string[] {
    const times = request.reason === 'created' && process.env[guestEnv.mender] ? rehearsals : 1
    let warnings: readonly string[] = []
    for (let i = 0; i < times; i++) {
      warnings = mendVm(parseRequest(JSON.stringify(request)), receivedAtMs, this.#options.clock)
    }
    return warnings
  }
}

const sourceOf = ({ instance_id, at_ms }: NonNullable<IdentifyRequest['cloned_from']>) => ({
  instanceId: instance_id,
  at: new Date(at_ms),
})

/** What a copied machine shares with its source. Best effort, but for a clock that was moved and cannot be put right. */
function mendVm(request: IdentifyRequest, receivedAtMs: number, clock: Clock): readonly string[] {
  const warnings: (string | null)[] = [setHostName(request.instance_id), setMachineId(request.incarnation)]
  warnings.push(mixIntoKernel(Buffer.from(request.entropy, 'base64'), clock))
  // Also of a machine that was booted: its clock may be wrong too, and its clones find the code for this loaded and warm.
  try {
    warnings.push(...setTimeAndReseed(request.wall_clock_ms, receivedAtMs, clock))
  } catch (error) {
    throw new Refusal('identity_refused', error instanceof Error ? error.message : String(error))
  }
  return warnings.filter(warning => warning !== null)
}

function setHostName(name: string): string | null {
  try {
    writeFileSync('/proc/sys/kernel/hostname', name)
    return null
  } catch (error) {
    return `the host name could not be set: ${error instanceof Error ? error.message : error}`
  }
}

/** A name for this life of the machine, made from its incarnation. An image that keeps none has nothing to mend. */
export function setMachineId(incarnation: string, path = '/etc/machine-id'): string | null {
  if (!existsSync(path)) return null
  try {
    writeFileSync(path, `${createHash('sha256').update(incarnation).digest('hex').slice(0, 32)}\n`)
    return null
  } catch (error) {
    return `the machine id could not be set: ${error instanceof Error ? error.message : error}`
  }
}

async function runHook(
  hook: NonNullable<AnyHooks['identified']>,
  identity: GuestIdentity,
  clock: Clock,
): Promise<void> {
  try {
    await withinHookTime(clock, async () => hook(identity))
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new Refusal('identity_refused', `the application's identified hook failed: ${why}`)
  }
}

function parseRequest(body: string): IdentifyRequest {
  const bad = (what: string) => new Refusal('invalid_request', `identify: ${what}`)
  let value: unknown
  try {
    value = JSON.parse(body)
  } catch {
    throw bad('the body is not JSON')
  }
  if (typeof value !== 'object' || value === null) throw bad('the body is not an object')
  const { instance_id, incarnation, cluster, reason, entropy, wall_clock_ms, cloned_from } = value as Record<
    string,
    unknown
  >
  if (typeof instance_id !== 'string' || !/^[a-z0-9-]{1,63}$/.test(instance_id)) throw bad('instance_id')
  if (typeof incarnation !== 'string' || incarnation === '' || incarnation.length > 128)
    throw bad('incarnation')
  if (typeof cluster !== 'string' || cluster === '' || cluster.length > 128) throw bad('cluster')
  if (reason !== 'created' && reason !== 'cloned') throw bad('reason: created or cloned')
  if (typeof wall_clock_ms !== 'number' || !Number.isFinite(wall_clock_ms) || wall_clock_ms < 0) {
    throw bad('wall_clock_ms')
  }
  if (typeof entropy !== 'string') throw bad('entropy')
  const bytes = Buffer.from(entropy, 'base64').length
  if (bytes < guestLimits.entropyBytesMin || bytes > guestLimits.entropyBytesMax) {
    throw bad(`entropy: ${guestLimits.entropyBytesMin} to ${guestLimits.entropyBytesMax} bytes`)
  }
  const known: IdentifyRequest = { instance_id, incarnation, cluster, reason, entropy, wall_clock_ms }
  if (cloned_from === undefined) return known
  if (!isSource(cloned_from)) throw bad('cloned_from')
  return { ...known, cloned_from }
}

function isSource(value: unknown): value is { instance_id: string; at_ms: number } {
  if (typeof value !== 'object' || value === null) return false
  const { instance_id: id, at_ms: at } = value as Record<string, unknown>
  return typeof id === 'string' && /^[a-z0-9-]{1,63}$/.test(id) && typeof at === 'number' && at >= 0
}
